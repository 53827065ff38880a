"""Where allauth asks the project: who may sign in, what an account starts with, which addresses count."""

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
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from accounts import addresses
from accounts.fields import fold_sign_in_name, normalize_email
from accounts.models import User
from accounts.signin import throttle
from accounts.signin.confirmations import Confirmation
from accounts.signin.encryption import decrypt, encrypt
from accounts.signin.middleware import note_the_time
from config.base.history import ADDITION, CHANGE, Author
from config.base.http import client_address
from config.base.mail import MAIL_ERRORS, log_failure
from tiers.models import Tier

logger = logging.getLogger(__name__)

EPOCH_AT_PASSWORD = "epoch_at_password"  # noqa: S105  (a session key)
ADDRESS_IS_TAKEN = "Another account has this email address. Sign in and choose another one."
LINK_IS_DEAD = "This link has expired. Request a new one."
MISMATCH = "This name and password do not belong together. Check both, or reset the password."

# What allauth mails its holder about an account is also what its history must tell.
NOTES = {
    "account/email/password_changed": "Changed the password.",
    "account/email/password_reset": "Set a new password through a reset link.",
    "account/email/password_set": "Set a password.",
    "account/email/email_changed": "Moved to another e-mail address, and confirmed it.",
    "mfa/email/totp_activated": "Enrolled an authenticator app.",
    "mfa/email/totp_deactivated": "Removed the authenticator app.",
    "mfa/email/webauthn_added": "Added a passkey.",
    "mfa/email/webauthn_removed": "Removed a passkey.",
    "mfa/email/recovery_codes_generated": "Made new recovery codes.",
    "socialaccount/email/account_connected": "Connected a sign-in provider.",
    "socialaccount/email/account_disconnected": "Disconnected a sign-in provider.",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": MISMATCH,
        "username_taken": User._meta.get_field("username").error_messages["unique"],
        "incorrect_password": "This is not your password.",
        "enter_current_password": "This is not your password.",
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)

    # --- signing up

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
        """Among live accounts only: the name of a deleted one is free. Raises ValidationError."""
        username = fold_sign_in_name(username)
        for validator in User._meta.get_field("username").validators:
            validator(username)
        if not shallow and User.objects.live().filter(username=username).exists():
            raise self.validation_error("username_taken")
        return username

    def clean_email(self, email: str) -> str:
        return normalize_email(email)

    # --- signing in

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """The account that these credentials belong to, unless there were too many wrong ones (ValidationError)."""
        name = credentials.get("username") or credentials.get("email") or ""
        # An account has a username and an email address, but only one counter. Known or not, a name costs one look-up.
        who = User.objects.by_sign_in_name(name) or name
        one_name, any_name = throttle.wrong_passwords(request, who), throttle.wrong_names(request)
        throttle.require(request, any_name)
        throttle.spend(request, one_name)
        user: User | None = super().authenticate(request, **credentials)
        if user is None:
            throttle.count(any_name)
        else:
            throttle.forgive(one_name)
        return user

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """allauth's count in the cache, which ours replaces."""

    def pre_login(self, request: HttpRequest, user: User, **details: Any) -> HttpResponse | None:
        if not user.is_effective:
            clear_login(request)
            inactive: HttpResponse = self.respond_user_inactive(request, user)
            return inactive
        request.session[EPOCH_AT_PASSWORD] = user.session_epoch
        response: HttpResponse | None = super().pre_login(request, user, **details)
        return response

    def login(self, request: HttpRequest, user: User) -> None:
        """Open the session, unless everything of this account was ended since the password was given.

        A second factor or a mail may lie between the two. Raises ImmediateHttpResponse.
        """
        began_at = request.session.pop(EPOCH_AT_PASSWORD, None)
        user.refresh_from_db()
        if not user.is_effective or user.session_epoch != began_at:
            clear_login(request)
            messages.error(request, "This sign-in was ended meanwhile. Sign in again.")
            raise ImmediateHttpResponse(redirect("account_login"))
        super().login(request, user)
        note_the_time(request)

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Where a sign-in leads that came from nowhere in particular: staff to their overview."""
        if request.user.is_staff:
            return reverse("admin:index")
        url: str = super().get_login_redirect_url(request)
        return url

    # --- what an account holds

    def set_password(self, user: User, password: str) -> None:
        user.set_password(password)
        user.save(update_fields=["password"])

    def can_delete_email(self, email_address: EmailAddress) -> bool:
        return bool(email_address.email != email_address.user.email)

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Take the address as shown to be this person's; not if the link is dead, or another account has it meanwhile."""
        problem = ADDRESS_IS_TAKEN
        try:
            if not addresses.is_taken(email_address.email, by_other_than=email_address.user):
                with transaction.atomic():
                    if Confirmation(email_address).is_still_good():
                        return bool(super().confirm_email(request, email_address))
                problem = LINK_IS_DEAD
        except IntegrityError:
            pass  # Another account took the address between the question and the answer.
        messages.error(request, problem)
        return False

    # --- mail

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        super().send_confirmation_mail(request, Confirmation(emailconfirmation.email_address), signup)

    def should_send_confirmation_mail(self, request: HttpRequest, email_address: EmailAddress, signup: bool) -> bool:
        # At sign-up the form has counted the mail already.
        return signup or throttle.is_left(throttle.mails_to(email_address.email))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send, or log that it failed: the page must not tell by an error whether there was something to send.

        Staff, who see the address anyway, are told.
        """
        try:
            super().send_mail(template_prefix, email, context)
        except MAIL_ERRORS as error:
            log_failure(logger, f"The mail {template_prefix}", error)
            if getattr(self.request, "user", AnonymousUser()).is_staff:
                messages.warning(
                    self.request, f"The email to {email} couldn't be sent. Check the address and the mail server."
                )

    def send_notification_mail(self, template_prefix: str, user: User, *args: Any, **options: Any) -> None:
        note = NOTES.get(template_prefix)
        if note:
            Author(user, self.request).record(user, CHANGE, note=note)
        super().send_notification_mail(template_prefix, user, *args, **options)


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def generate_authenticator_name(self, user: User, type: str) -> str:  # noqa: A002  (allauth's name)
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"

    def build_totp_svg(self, url: str) -> str:
        """The QR code as an <svg> that stands in the page itself: our pages may not load `data:` images."""
        svg = str(super().build_totp_svg(url))
        return svg[svg.index("<svg") :].replace("<svg ", '<svg role="img" aria-label="QR code for your app" ', 1)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
