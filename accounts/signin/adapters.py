"""Hooks for allauth: who can sign in, what a new user gets, which addresses are accepted."""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.stagekit import clear_login
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.core.mail import EmailMultiAlternatives
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from accounts import addresses
from accounts.fields import normalize_email, normalize_login
from accounts.models import User
from accounts.signin import throttle
from accounts.signin.confirmations import Confirmation
from accounts.signin.encryption import decrypt, encrypt
from accounts.signin.middleware import mark_seen
from config.base.history import ADDITION, CHANGE, Author
from config.base.html_mail import attach_html
from config.base.http import client_address
from config.base.mail import MAIL_ERRORS, log_failure
from tiers.models import Tier

logger = logging.getLogger(__name__)

EPOCH_AT_PASSWORD = "epoch_at_password"  # noqa: S105  (a session key)
ADDRESS_IS_TAKEN = "Another user has this email address. Sign in and choose another one."
LINK_IS_INVALID = "This link has expired. Request a new one."
WRONG_PASSWORD = "Incorrect password. Try again."  # noqa: S105  (a message)
TOO_MANY = "Too many attempts. Wait a moment, then try again."

# The history has an entry for each of these emails.
NOTES = {
    "account/email/password_changed": "Password changed.",
    "account/email/password_reset": "Password set through a reset link.",
    "account/email/password_set": "Password set.",
    "account/email/email_changed": "Email address changed and verified.",
    "mfa/email/totp_activated": "Authenticator app added.",
    "mfa/email/totp_deactivated": "Authenticator app removed.",
    "mfa/email/webauthn_added": "Passkey added.",
    "mfa/email/webauthn_removed": "Passkey removed.",
    "mfa/email/recovery_codes_generated": "Recovery codes created.",
    "socialaccount/email/account_connected": "Sign-in provider connected.",
    "socialaccount/email/account_disconnected": "Sign-in provider disconnected.",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": "That username or email address and password don't match. Try again, or reset your password.",
        "username_taken": User._meta.get_field("username").error_messages["unique"],
        "incorrect_password": WRONG_PASSWORD,
        "enter_current_password": WRONG_PASSWORD,
        "account_inactive": "Your account is suspended. Contact the people who run this service.",
        "too_many_login_attempts": TOO_MANY,
        "rate_limited": TOO_MANY,
        "username_blacklisted": "This username isn't available. Choose another one.",
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)

    # --- Sign up

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP_OPEN

    def new_user(self, request: HttpRequest) -> User:
        return User(tier=Tier.objects.default())

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        user.name = form.cleaned_data["name"]
        with transaction.atomic():
            super().save_user(request, user, form, commit=commit)
            Author(user, request).record(user, ADDITION, note="Signed up.")
        return user

    def clean_username(self, username: str, shallow: bool = False) -> str:
        username = normalize_login(username)
        for validator in User._meta.get_field("username").validators:
            validator(username)
        if not shallow and User.objects.live().filter(username=username).exists():
            raise self.validation_error("username_taken")
        return username

    def clean_email(self, email: str) -> str:
        return normalize_email(email)

    # --- Sign in

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """As allauth's. Raises ValidationError after too many wrong passwords."""
        login = credentials.get("username") or credentials.get("email") or ""
        # A user has two logins, but one counter. Whether the login is known or not, this takes one query.
        of_one = throttle.wrong_passwords(request, User.objects.find_by_login(login) or login)
        of_anyone = throttle.wrong_passwords_of_anyone(request)
        throttle.check(request, of_anyone)
        throttle.spend(request, of_one)
        user: User | None = super().authenticate(request, **credentials)
        if user is None:
            throttle.try_spend(of_anyone)
        else:
            throttle.forgive(of_one)
        return user

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Do nothing, because our throttle replaces allauth's counters in the cache."""

    def pre_login(self, request: HttpRequest, user: User, **details: Any) -> HttpResponse | None:
        if not user.is_effective:
            clear_login(request)
            inactive: HttpResponse = self.respond_user_inactive(request, user)
            return inactive
        request.session[EPOCH_AT_PASSWORD] = user.session_epoch
        response: HttpResponse | None = super().pre_login(request, user, **details)
        return response

    def login(self, request: HttpRequest, user: User) -> None:
        """As allauth's. Raises ImmediateHttpResponse if the user was signed out everywhere since they entered their password.

        A second factor or an email may come between the two.
        """
        epoch = request.session.pop(EPOCH_AT_PASSWORD, None)
        user.refresh_from_db()
        if not user.is_effective or user.session_epoch != epoch:
            clear_login(request)
            messages.error(request, "This sign-in is no longer valid. Sign in again.")
            raise ImmediateHttpResponse(redirect("account_login"))
        super().login(request, user)
        mark_seen(request)

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        if request.user.is_staff:
            return reverse("admin:index")
        url: str = super().get_login_redirect_url(request)
        return url

    # --- Password and email address

    def set_password(self, user: User, password: str) -> None:
        user.set_password(password)
        user.save(update_fields=["password"])

    def can_delete_email(self, email_address: EmailAddress) -> bool:
        return bool(email_address.email != email_address.user.email)

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """As allauth's, unless the link is no longer valid or another user has taken the address."""
        problem = ADDRESS_IS_TAKEN
        try:
            if not addresses.is_taken(email_address.email, exclude=email_address.user):
                with transaction.atomic():
                    if Confirmation(email_address).is_valid_and_locked():
                        return bool(super().confirm_email(request, email_address))
                problem = LINK_IS_INVALID
        except IntegrityError:
            pass  # another user took the address after the check
        messages.error(request, problem)
        return False

    # --- Emails

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        super().send_confirmation_mail(request, Confirmation(emailconfirmation.email_address), signup)

    def should_send_confirmation_mail(self, request: HttpRequest, email_address: EmailAddress, signup: bool) -> bool:
        # The sign-up form has counted it already.
        return signup or throttle.try_spend(throttle.emails_to(email_address.email))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """As allauth's, but a failure is logged: an error page would tell whether there was something to send."""
        try:
            super().send_mail(template_prefix, email, context)
        except MAIL_ERRORS as error:
            log_failure(logger, f"Email {template_prefix}", error)
            # Staff see the address anyway.
            if getattr(self.request, "user", AnonymousUser()).is_staff:
                messages.warning(
                    self.request, f"The email to {email} couldn't be sent. Check the address and the mail server."
                )

    def render_mail(self, *args: Any, **options: Any) -> EmailMultiAlternatives:
        return attach_html(super().render_mail(*args, **options))

    def send_notification_mail(self, template_prefix: str, user: User, *args: Any, **options: Any) -> None:
        if note := NOTES.get(template_prefix):
            Author(user, self.request).record(user, CHANGE, note=note)
        with timezone.override(user.zone):
            super().send_notification_mail(template_prefix, user, *args, **options)


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "Incorrect code. Enter the one that your app shows now.",
        "cannot_generate_recovery_codes": "Set up an authenticator app or a passkey first.",
        "unverified_email": "Verify your email address before you set up two-factor authentication.",
        "add_email_blocked": "Remove your authenticator app and your passkeys before you change your email address.",
    }

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)

    def generate_authenticator_name(self, user: User, type: str) -> str:  # noqa: A002  (allauth's name)
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"

    def build_totp_svg(self, url: str) -> str:
        # Inline SVG: our Content-Security-Policy forbids `data:` images.
        svg = str(super().build_totp_svg(url))
        return svg[svg.index("<svg") :].replace("<svg ", '<svg role="img" aria-label="QR code for your app" ', 1)
