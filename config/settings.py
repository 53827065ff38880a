"""Gatehouse's only settings module: everything that differs between machines comes from the environment.

`.env.example` explains each variable. Any variable NAME can be given as NAME_FILE, the path of a file with the value, for
Docker and Kubernetes secrets. `env.filled` reads variables that must not be empty.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from config.databases import database
from config.environment import Environment, reject_path_prefix

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
ENV_FILE: str = os.environ.get("ENV_FILE", str(BASE_DIR / ".env"))
# .env is optional, but a file named by ENV_FILE must exist.
if ENV_FILE and ("ENV_FILE" in os.environ or Path(ENV_FILE).exists()):
    env.read_env(ENV_FILE)
reject_path_prefix(env)

# --- Environment ----------------------------------------------------------------------------------------------------

DEBUG: bool = env.bool("DEBUG", default=False)
ENVIRONMENT_NAME: str = env.str("ENVIRONMENT", default="development" if DEBUG else "production")
# What pages, emails and authenticator apps call this installation; a logo (a path) and a color instead of ours.
INSTANCE_NAME: str = env.str("INSTANCE_NAME", default="") or "Gatehouse"
INSTANCE_LOGO: str = env.str("INSTANCE_LOGO", default="")
ACCENT_COLOR: str = env.str("ACCENT_COLOR", default="")
# The number of machines that serve this installation.
NODES: int = env.number("NODES", default=1, smallest=1, largest=10_000)
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))


def secret(name: str) -> str:
    """The secret `name`, which is required without DEBUG. With DEBUG, it defaults to a value derived from this checkout."""
    value: str = env.filled(name)
    if value:
        return value
    if DEBUG:
        return hashlib.sha256(f"throw-away {name} of {BASE_DIR}".encode()).hexdigest()
    raise ImproperlyConfigured(
        f"{name} isn't set. Set it to 50 or more random characters, for example from "
        f"`python -c 'import secrets; print(secrets.token_urlsafe(50))'`, in the environment or in {ENV_FILE}."
    )


SECRET_KEY = secret("SECRET_KEY")
SECRET_KEY_FALLBACKS: list[str] = env.filled("SECRET_KEY_FALLBACKS", list, default=[])

# HTTPS_ONLY=false makes cookies and redirects work over plain HTTP, for a laptop.
HTTPS_ONLY: bool = env.filled("HTTPS_ONLY", bool, default=not DEBUG)
ALLOWED_HOSTS: list[str] = env.filled("ALLOWED_HOSTS", list, default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# For links in emails that commands and jobs send. Empty: those have no links.
SITE_URL: str = env.str("SITE_URL", default="").rstrip("/")

# --- Applications ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "config.apps.GatehouseAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.forms",
    "django_filters",
    "tiers",
    # Before allauth, so that our templates and management commands take precedence.
    "accounts",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.github",
    "allauth.usersessions",
    "ratelimits",
    "apikeys",
]

MIDDLEWARE = [
    "apikeys.gateway.middleware.GatewayMiddleware",
    "config.middleware.RequestIdMiddleware",
    "config.middleware.SecurityHeadersMiddleware",
    "config.middleware.CompressionMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.CleanQueryMiddleware",
    "config.health.HealthMiddleware",
    "config.base.unavailable.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.middleware.NoStoreMiddleware",
    "config.base.unavailable.DatabaseUnavailableMiddleware",
    "accounts.profile.middleware.TimeZoneMiddleware",
    "accounts.rate_limits.RateLimitMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "apikeys.pages.query_guard.SecretInQueryMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.signin.middleware.LastSeenMiddleware",
    "accounts.signin.middleware.ThrottledResponseMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.base.context_processors.site",
            ],
            "builtins": ["config.staff.templatetags"],
            "libraries": {
                "gatehouse": "config.base.templatetags",
                "signin": "accounts.signin.templatetags",
            },
        },
    },
]
FORM_RENDERER = "config.base.renderer.Renderer"

# --- Database -------------------------------------------------------------------------------------------------------

DATABASES = {"default": database(env, VAR_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# `manage.py migrate` gives up after this time instead of blocking all readers while it waits for a long transaction.
MIGRATE_LOCK_TIMEOUT: str = env.str("MIGRATE_LOCK_TIMEOUT", default="500ms")

# --- Cache ----------------------------------------------------------------------------------------------------------

REDIS_URL: str = env.address("REDIS_URL", ("redis", "rediss", "unix"))
CACHES: dict[str, dict[str, Any]] = {
    "default": (
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "gatehouse"}
        if REDIS_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

# --- Accounts -------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.signin.backends.LiveUserBackend"]
PASSWORD_HASHERS = [
    "accounts.signin.hashers.OWASPArgon2PasswordHasher",
    # For users imported from other Django projects, who are re-hashed at their next sign-in.
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": "accounts.validators.MaximumLengthValidator", "OPTIONS": {"max_length": 128}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/account/"
LOGOUT_REDIRECT_URL = "account_login"
# For reset links and unfinished sign-ups.
PASSWORD_RESET_TIMEOUT = 24 * 3600
SIGNUP_OPEN: bool = env.bool("SIGNUP_OPEN", default=True)
STAFF_MFA_REQUIRED: bool = env.filled("STAFF_MFA_REQUIRED", bool, default=False)

ADMIN_NAME: str = env.str("ADMIN_NAME", default="")
ADMIN_EMAIL: str = env.str("ADMIN_EMAIL", default="")
ADMIN_USERNAME: str = env.str("ADMIN_USERNAME", default="")
ADMIN_PASSWORD: str = env.filled("ADMIN_PASSWORD")

# --- Sign-in: django-allauth (docs/sign-in.md) --------------------------------------------------------------------------

ACCOUNT_ADAPTER = "accounts.signin.adapters.AccountAdapter"
# By email address too: our backend distinguishes them, and finds only live users. Adding "email" here would require
# allauth's rule for unique addresses, which we can't use (see below).
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username*", "password1*"]
ACCOUNT_USERNAME_MIN_LENGTH = 2
ACCOUNT_PRESERVE_USERNAME_CASING = False
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
# allauth's rule includes deleted users, whose addresses can be used again here. Our forms and the adapter check live users.
ACCOUNT_UNIQUE_EMAIL = False
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{INSTANCE_NAME}] "
ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 3
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS_ONLY else "http"
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "accounts.signin.tokens.ResetTokenGenerator"  # noqa: S105  (a class, no secret)
# Ours are in accounts/signin/throttle.py: allauth's use the cache, which is per process without Redis.
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False
ACCOUNT_FORMS = {
    "signup": "accounts.signin.forms.SignupForm",
    "login": "accounts.signin.forms.LoginForm",
    "add_email": "accounts.signin.forms.ChangeEmailForm",
    "change_password": "accounts.signin.forms.ChangePasswordForm",
    "reset_password": "accounts.signin.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.signin.forms.NewPasswordForm",
    "reauthenticate": "accounts.signin.forms.PasswordConfirmationForm",
}
MFA_ADAPTER = "accounts.signin.adapters.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = INSTANCE_NAME
# One step of 30 s either way, for clocks that are a little off (RFC 6238, section 5.2).
MFA_TOTP_TOLERANCE = 1
# Browsers offer passkeys on http://localhost; the server must allow it too.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS_ONLY
MFA_FORMS = {
    "authenticate": "accounts.signin.forms.AuthenticateForm",
    "reauthenticate": "accounts.signin.forms.MFAReauthenticateForm",
    "activate_totp": "accounts.signin.forms.ActivateTOTPForm",
    "add_webauthn": "accounts.signin.forms.AddPasskeyForm",
    "edit_webauthn": "accounts.signin.forms.RenamePasskeyForm",
    "login_webauthn": "accounts.signin.forms.LoginPasskeyForm",
    "authenticate_webauthn": "accounts.signin.forms.AuthenticatePasskeyForm",
    "reauthenticate_webauthn": "accounts.signin.forms.ReauthenticatePasskeyForm",
}
SOCIALACCOUNT_ADAPTER = "accounts.signin.providers.SocialAccountAdapter"
SOCIALACCOUNT_FORMS = {"signup": "accounts.signin.forms.SocialSignupForm"}
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_EMAIL_VERIFICATION = "mandatory"
SOCIALACCOUNT_STORE_TOKENS = False


def oauth_provider(name: str, **options: Any) -> dict[str, Any]:
    """Without OAUTH_<NAME>_CLIENT_ID, a provider has no app, and so no button."""
    client_id: str = env.str(f"OAUTH_{name}_CLIENT_ID", default="")
    secret: str = env.filled(f"OAUTH_{name}_CLIENT_SECRET")
    if bool(client_id) != bool(secret):
        raise ImproperlyConfigured(f"Set both OAUTH_{name}_CLIENT_ID and OAUTH_{name}_CLIENT_SECRET, or neither.")
    apps = [{"client_id": client_id, "secret": secret}] if client_id else []
    return {"APPS": apps, "OAUTH_PKCE_ENABLED": True} | options


SOCIALACCOUNT_PROVIDERS = {
    "google": oauth_provider("GOOGLE", SCOPE=["openid", "profile", "email"]),
    "github": oauth_provider("GITHUB", SCOPE=["read:user", "user:email"]),
}

# --- Tiers and rate limits ------------------------------------------------------------------------------------------

DEFAULT_TIER_NAME: str = env.filled("DEFAULT_TIER_NAME", default="free")
# The tier of requests without a key. Empty: they are denied.
ANONYMOUS_TIER: str = env.str("ANONYMOUS_TIER", default="")
RATE_LIMITER_ENABLED: bool = env.filled("RATE_LIMITER_ENABLED", bool, default=True)
DEFAULT_RATE_LIMIT_LIMIT: int = env.int("DEFAULT_RATE_LIMIT_LIMIT", default=100)
DEFAULT_RATE_LIMIT_PERIOD: int = env.int("DEFAULT_RATE_LIMIT_PERIOD", default=60)
# Where counters are stored: redis, postgresql, sqlite or, for tests, memory. By default redis if REDIS_URL is set, or else the
# database's vendor. RATE_LIMIT_FAIL_OPEN: whether API requests are allowed while it is unavailable. Sign-in never is.
RATE_LIMIT_STORE: str = env.str("RATE_LIMIT_STORE", default="")
RATE_LIMIT_FAIL_OPEN: bool = env.bool("RATE_LIMIT_FAIL_OPEN", default=True)
# In milliseconds: after this time, the store counts as unavailable.
RATE_LIMIT_STORE_TIMEOUT: int = env.number("RATE_LIMIT_STORE_TIMEOUT", default=40, smallest=1, largest=10_000)
# Paths of your own views for RateLimitMiddleware, for example /shop/*.
RATE_LIMITED_PATHS: list[str] = env.list("RATE_LIMITED_PATHS", default=[])
# The number of your proxies in front: that many entries of X-Forwarded-For, from the right, are trusted.
TRUSTED_PROXY_HOPS: int = env.int("TRUSTED_PROXY_HOPS", default=0)

# --- API keys and gateways ------------------------------------------------------------------------------------------

API_KEY_PREFIX: str = env.str("API_KEY_PREFIX", default="gate")
# Newest first: the first is for new hashes, the others still verify old ones.
API_KEY_PEPPERS: list[str] = env.filled("API_KEY_PEPPERS", list, default=[]) or [secret("API_KEY_PEPPERS")]
GATEWAY_TRUSTED: list[str] = env.filled("GATEWAY_TRUSTED", list, default=["127.0.0.0/8", "::1/128"])
GATEWAY_SECRET: str = env.filled("GATEWAY_SECRET")
# Who may read /metrics. Like GATEWAY_TRUSTED.
METRICS_TRUSTED: list[str] = env.filled("METRICS_TRUSTED", list, default=["127.0.0.0/8", "::1/128"])
# How many days to keep usage events, and what was deleted, before a job removes them. 0: forever.
KEEP_USAGE_DAYS: int = env.int("KEEP_USAGE_DAYS", default=0)
KEEP_DELETED_DAYS: int = env.int("KEEP_DELETED_DAYS", default=0)
# Notified before a key expires, in addition to its owner (manage.py notify_expiring_keys).
KEY_EXPIRY_TEAM_EMAIL: str = env.str("KEY_EXPIRY_TEAM_EMAIL", default="")
ALLOW_CORS_PREFLIGHT: bool = env.bool("ALLOW_CORS_PREFLIGHT", default=False)
# For KeyRequiredMiddleware, which protects your own views: the paths that require a key.
API_KEY_REQUIRED: list[str] = env.filled("API_KEY_REQUIRED", list, default=["/api/"])

# --- Email ----------------------------------------------------------------------------------------------------------

EMAIL_URL: str = env.address("EMAIL_URL", Environment.EMAIL_SCHEMES, default="consolemail://")
vars().update(environ.Env.email_url_config(EMAIL_URL))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", default="gatehouse@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- Security -------------------------------------------------------------------------------------------------------

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS_ONLY and TRUSTED_PROXY_HOPS else None
SECURE_SSL_REDIRECT = HTTPS_ONLY
# Health checks and Prometheus come over plain HTTP from the internal network.
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS_ONLY
SECURE_HSTS_PRELOAD = HTTPS_ONLY
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SESSION_COOKIE_NAME = "__Host-session" if HTTPS_ONLY else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if HTTPS_ONLY else "csrf"
MESSAGES_COOKIE_NAME = "__Host-messages" if HTTPS_ONLY else "messages"
MESSAGE_STORAGE = "config.base.messages.MessageStorage"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 14 * 24 * 3600
SILENCED_SYSTEM_CHECKS = [
    # User.username is unique among live rows, which the check can't know.
    "auth.W004",
]

# --- Language, time, files ------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(VAR_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = VAR_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "django.contrib.staticfiles.storage.StaticFilesStorage"
            if DEBUG
            else "whitenoise.storage.CompressedManifestStaticFilesStorage"
        )
    },
}

# --- Logging --------------------------------------------------------------------------------------------------------

LOG_LEVEL: str = env.one_of("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), default="INFO")
# text, or json with one object per line.
LOG_FORMAT: str = env.str("LOG_FORMAT", default="text")
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "config.middleware.RequestIdFilter"}},
    "formatters": {
        "line": {
            "()": "config.base.logs.SafeFormatter",
            "format": "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s",
        },
        "json": {"()": "config.base.logs.JSONFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json" if LOG_FORMAT == "json" else "line",
            "filters": ["request_id"],
        },
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {"django": {"handlers": ["console"], "level": LOG_LEVEL, "propagate": False}},
}
