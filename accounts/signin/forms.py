"""allauth's forms, with our labels, our throttle, and addresses and usernames that are unique among live users."""

from __future__ import annotations

from typing import Any, ClassVar

from allauth.account import forms as account_forms
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.webauthn import forms as webauthn_forms
from allauth.socialaccount import forms as social_forms
from django import forms
from django.contrib.auth.hashers import make_password
from django.core.validators import MaxLengthValidator
from django.db import transaction

from accounts import addresses
from accounts.fields import normalize_email, normalize_login
from accounts.models import User
from accounts.signin import throttle
from accounts.signin.providers import forget_providers
from config.base.mail import validate_mailable
from config.base.validators import validate_encodable, validate_name

MAX_LOGIN_LENGTH = 254
MAX_PASSKEY_NAME_LENGTH = 100
# Longer than any code, with spaces or hyphens between its digits.
MAX_CODE_LENGTH = 20
RULES = "At least 8 characters. Avoid common passwords, digits alone, and anything like your name or email address."


def storable_email(typed: str) -> str:
    """The address in its normal form. Raises ValidationError if a user can't have it."""
    email = normalize_email(typed)
    validate_mailable(email)
    return email


class LabelledForm(forms.Form):
    """Uses our labels, and no placeholders, which would repeat them."""

    labels: ClassVar[dict[str, str]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, field in self.fields.items():
            field.label = self.labels.get(name, field.label)
            field.widget.attrs.pop("placeholder", None)
        for name in {"password", "oldpassword"} & set(self.fields):
            self.fields[name].help_text = ""  # a link, which the page has below
        if "password1" in self.fields:
            self.fields["password1"].help_text = RULES


class LoginForm(LabelledForm, account_forms.LoginForm):  # type: ignore[misc]
    labels: ClassVar = {"login": "Username or email address", "remember": "Keep me signed in for two weeks"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        login = self.fields["login"]
        login.widget.attrs.update(autocomplete="username", maxlength=str(MAX_LOGIN_LENGTH))
        login.validators += [validate_encodable, MaxLengthValidator(MAX_LOGIN_LENGTH)]

    def _clean_with_password(self, credentials: dict[str, Any]) -> Any:
        cleaned = super()._clean_with_password(credentials)
        # The address in use must be verified, even if the username was entered.
        self._login.email = self.user.email
        return cleaned


class SignupBase(LabelledForm):
    labels: ClassVar = {"username": "Username", "email": "Email address"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        widget = forms.TextInput(attrs={"autocomplete": "name"})
        self.fields["name"] = forms.CharField(min_length=2, max_length=100, validators=[validate_name], widget=widget)
        self.fields["username"].help_text = User._meta.get_field("username").help_text
        self.order_fields(["name", "username", "email", "password1"])

    def validate_unique_email(self, value: str) -> str:
        # The page doesn't reveal whether an address is taken. An email to that address does.
        self.account_already_exists = addresses.is_taken(value)
        return value

    def clean_email(self) -> str:
        self.cleaned_data["email"] = storable_email(self.cleaned_data["email"])
        return str(super().clean_email())  # type: ignore[misc]

    def clean_username(self) -> str:
        self.cleaned_data["username"] = normalize_login(self.cleaned_data["username"])
        return str(super().clean_username())  # type: ignore[misc]

    def clean(self) -> Any:
        # Failed attempts count too, because they reveal which usernames are taken.
        request, budgets = context.request, [throttle.sign_ups(context.request)]
        cleaned = super().clean()
        if not self.errors:
            budgets.append(throttle.emails_to(self.cleaned_data["email"]))
        throttle.spend(request, *budgets)
        return cleaned


class SignupForm(SignupBase, account_forms.SignupForm):  # type: ignore[misc]
    def save(self, request: Any) -> Any:
        # Emails are sent afterwards: a slow mail server must not hold a transaction open.
        with transaction.atomic():
            return super().save(request)

    def try_save(self, request: Any) -> Any:
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])  # to take as long as for a free address
        return super().try_save(request)


class SocialSignupForm(SignupBase, social_forms.SignupForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"].initial = self.sociallogin.user.name


class ChangeEmailForm(LabelledForm, account_forms.AddEmailForm):  # type: ignore[misc]
    """Also accepts an address that another user has: that user gets an email, and the page doesn't reveal it."""

    labels: ClassVar = {"email": "New email address"}

    def clean_email(self) -> str:
        email = storable_email(self.cleaned_data["email"])
        if email == self.user.email:
            raise forms.ValidationError("This is your current address. Enter a new one.", code="same_address")
        if not self.user.has_usable_password():
            raise forms.ValidationError("Set a password before you change your address.", code="no_password")
        throttle.spend(context.request, throttle.emails_to(email))
        return email

    def save(self, request: Any) -> EmailAddress:
        self.address = addresses.set_pending_address(self.user, self.cleaned_data["email"])
        return self.address


class ChangePasswordForm(LabelledForm, account_forms.ChangePasswordForm):  # type: ignore[misc]
    labels: ClassVar = {
        "oldpassword": "Current password",
        "password1": "New password",
        "password2": "New password (again)",
    }

    def clean_oldpassword(self) -> str:
        # A wrong password counts here as it does at sign-in.
        attempts = throttle.wrong_passwords(context.request, self.user)
        throttle.spend(context.request, throttle.password_changes(self.user), attempts)
        password = str(super().clean_oldpassword())
        throttle.forgive(attempts)
        return password


class ResetPasswordForm(LabelledForm, account_forms.ResetPasswordForm):  # type: ignore[misc]
    labels: ClassVar = {"email": "Email address"}

    def clean_email(self) -> str:
        email = storable_email(self.cleaned_data["email"])
        throttle.spend(context.request, throttle.reset_requests(context.request), throttle.emails_to(email))
        self.users = list(User.objects.effective().filter(email=email))
        return email


class LinkUsed(Exception):
    """The reset link was used, or became invalid, since the form was opened."""


class NewPasswordForm(LabelledForm, account_forms.ResetPasswordKeyForm):  # type: ignore[misc]
    labels: ClassVar = {"password1": "New password", "password2": "New password (again)"}

    def save(self) -> None:
        """Set the password, and mark the address in use as verified, as the link went there. Raises LinkUsed."""
        self.user.set_password(self.cleaned_data["password1"])  # before the row is locked, because hashing takes time
        with transaction.atomic():
            present = User.objects.select_for_update(no_key=True).filter(pk=self.user.pk).first()
            if not default_token_generator.check_token(present, self.temp_key):
                raise LinkUsed
            self.user.save(update_fields=["password"])
            if present.last_login is None and not addresses.is_verified(present):
                # The provider may have connected someone else, who gave this address unverified.
                forget_providers(self.user)
            addresses.mark_verified(self.user)


class PasswordConfirmationForm(LabelledForm, account_forms.ReauthenticateForm):  # type: ignore[misc]
    pass


# What allauth's parsers raise for a malformed credential.
MALFORMED = (AttributeError, KeyError, TypeError, ValueError)
INVALID_PASSKEY = forms.ValidationError("This passkey wasn't accepted. Try again.", code="incorrect_code")


class PasskeyNameForm(LabelledForm):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"].validators += [MaxLengthValidator(MAX_PASSKEY_NAME_LENGTH), validate_name]
        self.fields["name"].widget.attrs["maxlength"] = str(MAX_PASSKEY_NAME_LENGTH)


class AddPasskeyForm(PasskeyNameForm, webauthn_forms.AddWebAuthnForm):  # type: ignore[misc]
    def clean(self) -> Any:
        try:
            return super().clean()
        except MALFORMED:
            raise INVALID_PASSKEY from None


class CredentialMixin:
    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except MALFORMED:
            raise INVALID_PASSKEY from None


class LoginPasskeyForm(CredentialMixin, webauthn_forms.LoginWebAuthnForm):  # type: ignore[misc]
    pass


class AuthenticatePasskeyForm(CredentialMixin, webauthn_forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class ReauthenticatePasskeyForm(CredentialMixin, webauthn_forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class RenamePasskeyForm(PasskeyNameForm, webauthn_forms.EditWebAuthnForm):  # type: ignore[misc]
    pass


class ThrottledCodeForm(LabelledForm):
    """Few attempts, and each code once: allauth checks neither while its own rate limits are off."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Recovery codes have digits only, too.
        self.fields["code"].widget.attrs.update(inputmode="numeric", maxlength=str(MAX_CODE_LENGTH))

    def clean_code(self) -> str:
        request, user = context.request, self.user  # type: ignore[attr-defined]
        throttle.spend(request, throttle.wrong_codes(user))
        code = str(super().clean_code())  # type: ignore[misc]
        if not throttle.try_spend(throttle.code_use(user, code)):
            raise forms.ValidationError("This code has been used. Wait for the next one.", code="code_used")
        throttle.forgive(throttle.wrong_codes(user))
        return code


class AuthenticateForm(ThrottledCodeForm, mfa_forms.AuthenticateForm):  # type: ignore[misc]
    pass


class MFAReauthenticateForm(ThrottledCodeForm, mfa_forms.ReauthenticateForm):  # type: ignore[misc]
    pass


class ActivateTOTPForm(ThrottledCodeForm, totp_forms.ActivateTOTPForm):  # type: ignore[misc]
    labels: ClassVar = {"code": "Code from the app"}
