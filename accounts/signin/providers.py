"""Sign-in through Google and GitHub: which account a provider's answer leads to, and what is kept of it."""

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

LONGEST_UID = 191  # SocialAccount.uid
ID_COLUMNS = {"google": "google_id", "github": "github_id"}
# Of what a provider tells about a person, this is needed to show which account is connected.
KEPT = ("login", "name", "email")


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """Fill the account-to-be from the provider's answer; what does not fit is cut or left out.

        Raises ProviderException, which becomes an error page, for an id that cannot be kept.
        """
        refuse_unusable_uid(sociallogin.account.uid)
        sociallogin.account.extra_data = {
            key: as_text(value, 254) for key, value in sociallogin.account.extra_data.items() if key in KEPT and value
        }
        sociallogin.email_addresses = [row for row in sociallogin.email_addresses if is_address(row.email)]
        user: User = sociallogin.user
        email = as_text(data.get("email"), 1000)
        user.email = normalize_email(email) if is_address(email) else ""
        user.name = name_from(data) or user.email.partition("@")[0] or "New account"
        user.username = free_username(as_text(data.get("username"), 254) or user.email.partition("@")[0])
        return user

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Any:
        """As allauth's; an account that was connected before its provider left the settings can still be disconnected."""
        try:
            return super().get_provider(request, provider, client_id=client_id)
        except SocialApp.DoesNotExist:
            return registry.get_class(provider)(request, app=SocialApp(provider=provider))

    def authenticate_by_email(self, sociallogin: SocialLogin) -> tuple[User, str] | None:
        """The account that has an address which the provider has verified; an unverified one proves nothing."""
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
        # Without a usable address, or with a name that is too short, the person completes a form.
        user = sociallogin.user
        return bool(user.email) and len(user.username) > 1 and super().is_auto_signup_allowed(request, sociallogin)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """Store a new account. A lost race for its name or address sends the person back to the sign-in page."""
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
            messages.error(request, "Another account took this name or address just now. Try again.")
            raise ImmediateHttpResponse(redirect("account_login")) from None
        return user

    def serialize_instance(self, instance: Any) -> Any:
        """For the session: what the database itself will fill in cannot be written down yet, and is left out."""
        bare = type(instance)()
        bare.__dict__ = {
            name: value for name, value in vars(instance).items() if not isinstance(value, DatabaseDefault)
        }
        return super().serialize_instance(bare)

    def get_signup_form_initial_data(self, sociallogin: SocialLogin) -> dict[str, str]:
        user = sociallogin.user
        return {"email": user.email, "username": user.username, "name": user.name}


def refuse_unusable_uid(uid: Any) -> None:
    text = str(uid)
    if not text or len(text) > LONGEST_UID or not text.isprintable():
        raise ProviderException("The provider sent an id that cannot be kept.")


def as_text(value: Any, longest: int) -> str:
    """`value` as one line that every database can hold: no control characters, no lone surrogates, cut at `longest`."""
    kept = "".join(character for character in str(value or "") if character.isprintable())
    return kept.strip()[:longest]


def is_address(email: str) -> bool:
    """Whether an account can have this address, once normalised."""
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


def free_username(wish: str) -> str:
    """A username that no live account has, as near to `wish` as the rules allow."""
    stem = re.sub(r"[^a-z0-9_]+", "_", wish.casefold()).strip("_")[:26] or "user"
    stem = stem if len(stem) > 1 else f"{stem}_1"
    taken = set(User.objects.live().filter(username__startswith=stem).values_list("username", flat=True))
    candidates = (f"{stem}{number or ''}" for number in range(len(taken) + 1))
    return next(name for name in candidates if name not in taken)


def claim(user: User, request: HttpRequest, provider: str) -> None:
    """Give an account whose address was never verified to the person whom the provider has verified at that address.

    Whoever made the account knows its password, and may have sessions, second factors, other providers' sign-ins and API
    keys: all of that dies.
    """
    author = Author(user, request)
    with transaction.atomic():
        user.set_unusable_password()
        user.save(update_fields=["password"])
        user.end_sessions()
        Authenticator.objects.filter(user=user).delete()
        UserSession.objects.filter(user=user).delete()
        forget_providers(user)
        revoked = revoke_keys(user, author, f"The account was claimed by sign-in with {provider}.")
        addresses.set_address(user, verified=True)
        author.record(
            user,
            CHANGE,
            note=f"Claimed through a provider that has verified the address ({provider}); the old password, sessions and "
            f"API keys ended.",
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
    """Disconnect the providers by which somebody could sign in to the account so far."""
    SocialAccount.objects.filter(user=user).delete()
    sync_columns(user)


def fill_columns(user: User, social_accounts: list[SocialAccount]) -> None:
    """Set the OAuth columns from the connected accounts; saves nothing."""
    uids = {account.provider: account.uid for account in social_accounts}
    for provider, column in ID_COLUMNS.items():
        setattr(user, column, uids.get(provider))
    if user.oauth_provider not in uids:
        user.oauth_provider = next(iter(uids), "")


def sync_columns(user: User) -> None:
    """Bring the OAuth columns in line with the accounts that are connected now."""
    fill_columns(user, list(SocialAccount.objects.filter(user_id=user.pk).order_by("pk")))
    user.save(update_fields=["oauth_provider", *ID_COLUMNS.values()])


def on_social_account_changed(sender: Any, sociallogin: SocialLogin | None = None, **details: Any) -> None:
    """allauth's one hook for "connected" and "disconnected": keep the columns true."""
    account = sociallogin.account if sociallogin else details["socialaccount"]
    sync_columns(account.user)
