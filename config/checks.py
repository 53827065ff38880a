"""System checks of settings. Errors of the deployment checks prevent gunicorn from starting (config/gunicorn.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ValidationError
from django.core.mail.message import sanitize_address
from django.db import DatabaseError, connection

from accounts.fields import normalize_email
from apikeys.addresses import as_network
from apikeys.gateway.peers import UNIX_SOCKET
from config.base import branding
from config.base.mail import validate_mailable
from config.base.site import site_problem
from tiers.models import Tier

MIN_SECRET_KEY_LENGTH = 50
MAX_DAYS = 36_500
MIN_PEPPER_LENGTH = 32
MIN_GATEWAY_SECRET_LENGTH = 16
MIN_DISTINCT_CHARACTERS = 10
# Values in examples, ours and the FastAPI starter's.
KNOWN_SECRETS = re.compile(r"change|insecure|secret-?key|example|password|your[-_ ]", re.IGNORECASE)
PATH_START = re.compile(r"/[^*{}?#]*")
KEY_PREFIX = re.compile(r"[a-z][a-z0-9]{1,15}")
GENERATE = "Generate one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
SMTP = "django.core.mail.backends.smtp.EmailBackend"

Check = Callable[..., list[CheckMessage]]


def generator_check(generator: Callable[[], Iterator[CheckMessage]]) -> Check:
    def check(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
        return list(generator())

    check.__name__ = generator.__name__
    return check


@register
@generator_check
def settings_make_sense() -> Iterator[CheckMessage]:
    if not KEY_PREFIX.fullmatch(settings.API_KEY_PREFIX):
        yield Error(
            "API_KEY_PREFIX must have 2 to 16 lowercase letters and digits, and start with a letter.",
            id="gatehouse.E001",
        )
    if settings.TRUSTED_PROXY_HOPS < 0:
        yield Error(
            "TRUSTED_PROXY_HOPS must be 0 or more. It's the number of your proxies in front of Gatehouse.",
            id="gatehouse.E003",
        )
    if not fits_a_header(settings.GATEWAY_SECRET):
        yield Error(
            "GATEWAY_SECRET must be printable ASCII without spaces around it, because gateways send it in a header.",
            hint=GENERATE,
            id="gatehouse.E005",
        )
    if settings.LOG_FORMAT not in {"text", "json"}:
        yield Error(
            "LOG_FORMAT must be text or json.", hint="Set LOG_FORMAT=text or LOG_FORMAT=json.", id="gatehouse.E008"
        )


@register
@generator_check
def trusted_networks_make_sense() -> Iterator[CheckMessage]:
    for name in ("GATEWAY_TRUSTED", "METRICS_TRUSTED"):
        for network in getattr(settings, name):
            if network != UNIX_SOCKET and as_network(network) is None:
                yield Error(
                    f"{name} has “{network}”, which isn't an address or a network such as 10.0.0.0/8.",
                    hint=f"For peers on a Unix socket, use {UNIX_SOCKET}",
                    id="gatehouse.E004",
                )


@register
@generator_check
def protected_paths_make_sense() -> Iterator[CheckMessage]:
    for start in settings.API_KEY_REQUIRED:
        if not PATH_START.fullmatch(start):
            yield Error(
                f"API_KEY_REQUIRED has “{start}”, which protects nothing: no path starts with it.",
                hint="Start it with a slash, and leave out * and {name}: /api/ includes everything below.",
                id="gatehouse.E041",
            )


@register
@generator_check
def days_make_sense() -> Iterator[CheckMessage]:
    for name in ("KEEP_USAGE_DAYS", "KEEP_DELETED_DAYS"):
        if not 0 <= getattr(settings, name) <= MAX_DAYS:
            yield Error(
                f"{name} must be a number from 0 to {MAX_DAYS:,}.",
                hint=f"Set {name} to a number of days, or to 0 to keep everything.",
                id="gatehouse.E006",
            )


@register
@generator_check
def branding_makes_sense() -> Iterator[CheckMessage]:
    problems = {
        "INSTANCE_NAME": branding.name_problem,
        "INSTANCE_LOGO": branding.logo_problem,
        "ACCENT_COLOR": branding.color_problem,
    }
    for name, problem_of in problems.items():
        value = getattr(settings, name)
        if problem := problem_of(value):
            yield Error(f"{name} is “{value}”. {problem}", id="gatehouse.E007")


@register
@generator_check
def site_url_makes_sense() -> Iterator[CheckMessage]:
    if problem := site_problem(settings.SITE_URL):
        yield Error(f"SITE_URL is “{settings.SITE_URL}”. {problem}", id="gatehouse.E009")


@register
@generator_check
def anonymous_tier_exists() -> Iterator[CheckMessage]:
    try:
        is_known = not settings.ANONYMOUS_TIER or Tier.objects.live().filter(name=settings.ANONYMOUS_TIER).exists()
    except DatabaseError:
        return  # not migrated yet, or unavailable
    if not is_known:
        yield Error(
            f"ANONYMOUS_TIER names a tier that doesn't exist: “{settings.ANONYMOUS_TIER}”.",
            hint="Create the tier first, or leave ANONYMOUS_TIER empty to deny requests without a key.",
            id="gatehouse.E040",
        )


@register
@generator_check
def addresses_can_be_mailed() -> Iterator[CheckMessage]:
    for name in ("DEFAULT_FROM_EMAIL", "KEY_EXPIRY_TEAM_EMAIL"):
        value = getattr(settings, name)
        if value and not is_mailbox(value):
            yield Error(
                f"{name} isn't a valid email address.",
                hint=f"Set {name} to one email address, such as team@example.com or Team <team@example.com>.",
                id="gatehouse.E030",
            )


@register(Tags.security, deploy=True)
@generator_check
def secrets_are_secret() -> Iterator[CheckMessage]:
    if is_weak(settings.SECRET_KEY, MIN_SECRET_KEY_LENGTH):
        yield Error(
            "SECRET_KEY is too short or from an example. Anyone who guesses it can forge sessions.",
            hint=f"Set SECRET_KEY to at least {MIN_SECRET_KEY_LENGTH} random characters. {GENERATE}",
            id="gatehouse.E010",
        )
    if any(is_weak(pepper, MIN_PEPPER_LENGTH) for pepper in settings.API_KEY_PEPPERS):
        yield Error(
            "API_KEY_PEPPERS has a value that is too short or from an example.",
            hint=f"Set each pepper to at least {MIN_PEPPER_LENGTH} random characters. {GENERATE}",
            id="gatehouse.E011",
        )


@register(Tags.security, deploy=True)
@generator_check
def this_is_production() -> Iterator[CheckMessage]:
    if settings.DEBUG:
        yield Error(
            "DEBUG is on. Error pages would show settings and source code to everyone.",
            hint="Set DEBUG=false.",
            id="gatehouse.E012",
        )
    if any(accepts_any_name(host.strip()) for host in settings.ALLOWED_HOSTS):
        yield Error(
            "ALLOWED_HOSTS accepts any host name, so an attacker's could end up in password reset emails.",
            hint="Set ALLOWED_HOSTS to your host names, for example ALLOWED_HOSTS=admin.example.com.",
            id="gatehouse.E013",
        )
    if settings.NODES > 1 and connection.vendor == "sqlite":
        yield Error(
            "NODES is more than 1, but SQLite stores the data on one machine.",
            hint="Set DATABASE_URL to a PostgreSQL database for all nodes, or NODES=1.",
            id="gatehouse.E014",
        )


@register(Tags.security, deploy=True)
@generator_check
def gateways_are_known() -> Iterator[CheckMessage]:
    if not settings.GATEWAY_SECRET:
        yield CheckWarning(
            "GATEWAY_SECRET isn't set, so any process on a trusted address can ask about keys.",
            hint="Set GATEWAY_SECRET to a random value, and configure gateways to send it in X-Gateway-Secret.",
            id="gatehouse.W020",
        )
    elif is_weak(settings.GATEWAY_SECRET, MIN_GATEWAY_SECRET_LENGTH):
        yield CheckWarning(
            "GATEWAY_SECRET is too short or from an example. Anyone on a trusted address who guesses it can ask about keys.",
            hint=f"Set GATEWAY_SECRET to at least {MIN_GATEWAY_SECRET_LENGTH} random characters. {GENERATE}",
            id="gatehouse.W021",
        )


@register(Tags.security, deploy=True)
@generator_check
def emails_have_links() -> Iterator[CheckMessage]:
    if settings.EMAIL_BACKEND == SMTP and not settings.SITE_URL:
        yield CheckWarning(
            "SITE_URL isn't set, so emails that commands and jobs send, such as notices that a key expires, have no links.",
            hint="Set SITE_URL to the address of Gatehouse, for example SITE_URL=https://gatehouse.example.com.",
            id="gatehouse.W022",
        )


def is_mailbox(value: str) -> bool:
    try:
        sanitize_address(value, "utf-8")
        validate_mailable(normalize_email(parseaddr(value)[1]))
    except (ValueError, ValidationError):
        return False
    return True


def accepts_any_name(host: str) -> bool:
    """Whether an entry of ALLOWED_HOSTS matches every name, or every name in a top-level domain (“.com”)."""
    return host in {"*", ""} or (host.startswith(".") and "." not in host[1:])


def fits_a_header(value: str) -> bool:
    return value == value.strip() and value.isascii() and value.isprintable()


def is_weak(secret: str, shortest: int) -> bool:
    return len(secret) < shortest or len(set(secret)) < MIN_DISTINCT_CHARACTERS or bool(KNOWN_SECRETS.search(secret))
