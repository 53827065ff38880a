"""Sign-in through Google and GitHub."""

from __future__ import annotations

import re
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.base import AuthProcess, ProviderException
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.expressions import DatabaseDefault
from django.http import HttpRequest
from django.shortcuts import redirect

from accounts import addresses
from accounts.fields import normalize_email
from accounts.models import User
from config.base.history import ADDITION, CHANGE, Author
from config.base.mail import validate_mailable
from config.base.models import ConcurrentDeletion
from config.base.text import counted

MAX_UID_LENGTH = 191  # SocialAccount.uid
ID_COLUMNS = {"google": "google_id", "github": "github_id"}
# What is stored of the provider's data: enough to show which account is connected.
STORED_KEYS = ("login", "name", "email")


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultSocialAccountAdapter.error_messages | {
        "email_taken": "There is an account with this email address. Sign in to it, then connect your %s account.",
        "no_password": "Set a password before you disconnect this account. Otherwise, you couldn't sign in.",
        "connected_other": "Another user is connected to this account.",
    }

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """As allauth's; what doesn't fit is cut or left out. Raises ProviderException for an id that can't be stored."""
        validate_uid(sociallogin.account.uid)
        sociallogin.account.extra_data = {
            key: as_text(value, 254)
            for key, value in sociallogin.account.extra_data.items()
            if key in STORED_KEYS and value
        }
        sociallogin.email_addresses = [row for row in sociallogin.email_addresses if is_mailable(row.email)]
        user: User = sociallogin.user
        email = as_text(data.get("email"), 1000)
        user.email = normalize_email(email) if is_mailable(email) else ""
        user.name = name_from(data) or user.email.partition("@")[0] or "New user"
        user.username = free_username(as_text(data.get("username"), 254) or user.email.partition("@")[0])
        return user

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Any:
        try:
            return super().get_provider(request, provider, client_id=client_id)
        except SocialApp.DoesNotExist:
            # Users can still disconnect a provider that has left the settings.
            return registry.get_class(provider)(request, app=SocialApp(provider=provider))

    def authenticate_by_email(self, sociallogin: SocialLogin) -> tuple[User, str] | None:
        for row in sociallogin.email_addresses:
            email = normalize_email(row.email)
            user = User.objects.effective().filter(email=email).first() if row.verified else None
            if user is not None:
                return user, email
        return None

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        signing_in = sociallogin.state.get("process") == AuthProcess.LOGIN
        email = sociallogin._did_authenticate_by_email
        if signing_in and email and not addresses.is_verified(sociallogin.user):
            claim(sociallogin.user, request, sociallogin.account.get_provider().name)

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        user = sociallogin.user
        return bool(user.email) and len(user.username) > 1 and super().is_auto_signup_allowed(request, sociallogin)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        user: User = sociallogin.user
        user.oauth_provider = sociallogin.account.provider
        fill_columns(user, [sociallogin.account])
        try:
            with transaction.atomic():
                super().save_user(request, sociallogin, form)
                if form is None:
                    note = f"Signed up with {sociallogin.account.provider}."
                    Author(user, request).record(user, ADDITION, note=note)
        except (IntegrityError, ConcurrentDeletion):
            messages.error(request, "Someone else just took this username or email address. Try again.")
            raise ImmediateHttpResponse(redirect("account_login")) from None
        return user

    def serialize_instance(self, instance: Any) -> Any:
        """As allauth's, without the fields that the database fills in: they can't be serialized."""
        bare = type(instance)()
        bare.__dict__ = {
            name: value for name, value in vars(instance).items() if not isinstance(value, DatabaseDefault)
        }
        return super().serialize_instance(bare)

    def get_signup_form_initial_data(self, sociallogin: SocialLogin) -> dict[str, str]:
        user = sociallogin.user
        return {"email": user.email, "username": user.username, "name": user.name}


def validate_uid(uid: Any) -> None:
    text = str(uid)
    if not text or len(text) > MAX_UID_LENGTH or not text.isprintable():
        raise ProviderException("The provider sent an id that can't be stored.")


def as_text(value: Any, max_length: int) -> str:
    """`value` without control characters and lone surrogates, cut to `max_length`."""
    return "".join(character for character in str(value or "") if character.isprintable()).strip()[:max_length]


def is_mailable(email: str) -> bool:
    try:
        validate_mailable(normalize_email(email))
    except ValidationError:
        return False
    return True


def name_from(data: dict[str, Any]) -> str:
    parts = (data.get("first_name"), data.get("last_name"))
    name = as_text(data.get("name"), 100) or " ".join(filter(None, (as_text(part, 100) for part in parts)))[:100]
    try:
        User._meta.get_field("name").run_validators(name)
    except ValidationError:
        return ""
    return name


def free_username(preferred: str) -> str:
    stem = re.sub(r"[^a-z0-9_]+", "_", preferred.casefold()).strip("_")[:26] or "user"
    stem = stem if len(stem) > 1 else f"{stem}_1"
    taken = set(User.objects.live().filter(username__startswith=stem).values_list("username", flat=True))
    candidates = (f"{stem}{number or ''}" for number in range(len(taken) + 1))
    return next(name for name in candidates if name not in taken)


def claim(user: User, request: HttpRequest, provider: str) -> None:
    """Give a user whose address was never verified to the person whose address the provider has verified.

    Whoever signed up with it may have the password, sessions, second factors, connected providers and API keys. All of them
    end.
    """
    author = Author(user, request)
    with transaction.atomic():
        user.set_unusable_password()
        user.save(update_fields=["password"])
        user.end_sessions()
        Authenticator.objects.filter(user=user).delete()
        UserSession.objects.filter(user=user).delete()
        forget_providers(user)
        revoked = revoke_keys(user, author, f"Account claimed by signing in with {provider}.")
        addresses.set_address(user, verified=True)
        author.record(
            user,
            CHANGE,
            note=f"Claimed by signing in with {provider}, which has verified the address. The old password, sessions and "
            f"API keys no longer work.",
        )
    if revoked:
        messages.warning(
            request,
            f"{counted(revoked, 'API key')} from before you signed in to this account no longer "
            f"{'works' if revoked == 1 else 'work'}. Create new ones.",
        )


def revoke_keys(user: User, author: Author, reason: str) -> int:
    keys = list(user.api_keys.filter(revoked_at__isnull=True))
    user.api_keys.revoke(reason)
    author.record_many(keys, CHANGE, note=f"Revoked: {reason}")
    return len(keys)


def forget_providers(user: User) -> None:
    SocialAccount.objects.filter(user=user).delete()
    sync_columns(user)


def fill_columns(user: User, social_accounts: list[SocialAccount]) -> None:
    uids = {account.provider: account.uid for account in social_accounts}
    for provider, column in ID_COLUMNS.items():
        setattr(user, column, uids.get(provider))
    if user.oauth_provider not in uids:
        user.oauth_provider = next(iter(uids), "")


def sync_columns(user: User) -> None:
    fill_columns(user, list(SocialAccount.objects.filter(user_id=user.pk).order_by("pk")))
    user.save(update_fields=["oauth_provider", *ID_COLUMNS.values()])


def on_social_account_changed(sender: Any, sociallogin: SocialLogin | None = None, **details: Any) -> None:
    account = sociallogin.account if sociallogin else details["socialaccount"]
    sync_columns(account.user)
