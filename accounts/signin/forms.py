"""The forms of the sign-in pages: allauth's, with our names, our throttle, and live accounts as what counts."""

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
from accounts.fields import fold_sign_in_name, normalize_email
from accounts.models import User
from accounts.signin import throttle
from accounts.signin.providers import forget_providers
from config.base.mail import validate_mailable
from config.base.validators import validate_encodable, validate_name

# Longer than any name or address, and short enough to be looked up.
LONGEST_NAME = 254
LONGEST_PASSKEY_NAME = 100
RULES = "At least 8 characters. Not a common one, not only digits, and nothing like your name or address."


def name_field() -> forms.CharField:
    return forms.CharField(
        min_length=2,
        max_length=100,
        validators=[validate_name],
        help_text="How you want to be addressed.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )


def storable_email(typed: str) -> str:
    """An address as it is stored. Raises ValidationError for one that an account cannot have."""
    email = normalize_email(typed)
    validate_mailable(email)
    return email


class Plain(forms.Form):
    """Labels in our words, above their fields: no placeholders, which only repeat them."""

    labels: ClassVar[dict[str, str]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, field in self.fields.items():
            field.label = self.labels.get(name, field.label)
            field.widget.attrs.pop("placeholder", None)
        for name in {"password", "oldpassword"} & set(self.fields):
            self.fields[name].help_text = ""  # a link, too close to the field to be hit; the page has it below
        if "password1" in self.fields:
            self.fields["password1"].help_text = RULES


class LoginForm(Plain, account_forms.LoginForm):  # type: ignore[misc]
    labels: ClassVar = {"login": "Username or e-mail address", "remember": "Keep me signed in for two weeks"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        login = self.fields["login"]
        login.widget.attrs.update(autocomplete="username", autocapitalize="none", maxlength=str(LONGEST_NAME))
        login.validators += [validate_encodable, MaxLengthValidator(LONGEST_NAME)]

    def _clean_with_password(self, credentials: dict[str, Any]) -> Any:
        cleaned = super()._clean_with_password(credentials)
        # The address in use is what must be verified, whichever name was typed.
        self._login.email = self.user.email
        return cleaned


class SignupBase(Plain):
    """What sign-up by password and by provider have in common, apart from allauth's fields."""

    labels: ClassVar = {"username": "Username", "email": "E-mail address"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"] = name_field()
        self.fields["username"].help_text = User._meta.get_field("username").help_text
        self.fields["username"].widget.attrs["autocapitalize"] = "none"
        self.order_fields(["name", "username", "email", "password1"])

    def validate_unique_email(self, value: str) -> str:
        # Nothing is said here: the address is sent a mail instead, in which only its holder reads that it is taken.
        self.account_already_exists = addresses.is_taken(value)
        return value

    def clean_email(self) -> str:
        self.cleaned_data["email"] = storable_email(self.cleaned_data["email"])
        return str(super().clean_email())  # type: ignore[misc]

    def clean_username(self) -> str:
        self.cleaned_data["username"] = fold_sign_in_name(self.cleaned_data["username"])
        return str(super().clean_username())  # type: ignore[misc]

    def clean(self) -> Any:
        """Counts every attempt, since a refused one tells which usernames are taken."""
        request, budgets = context.request, [throttle.sign_ups(context.request)]
        cleaned = super().clean()
        if not self.errors:
            budgets.append(throttle.mails_to(self.cleaned_data["email"]))
        throttle.spend(request, *budgets)
        return cleaned


class SignupForm(SignupBase, account_forms.SignupForm):  # type: ignore[misc]
    def save(self, request: Any) -> Any:
        # Ends before mail is sent: a slow mail server must not hold a transaction open.
        with transaction.atomic():
            return super().save(request)

    def try_save(self, request: Any) -> Any:
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])  # as long as for a free address
        return super().try_save(request)


class SocialSignupForm(SignupBase, social_forms.SignupForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"].initial = self.sociallogin.user.name


class ChangeEmailForm(Plain, account_forms.AddEmailForm):  # type: ignore[misc]
    """Moves the account to another address, once its holder has confirmed it there.

    An address that another account holds is not refused: its holder is told by mail, and the confirmation would fail.
    """

    labels: ClassVar = {"email": "New e-mail address"}

    def clean_email(self) -> str:
        email = storable_email(self.cleaned_data["email"])
        if email == self.user.email:
            raise forms.ValidationError("This is your address already.", code="same_address")
        if not self.user.has_usable_password():
            raise forms.ValidationError(
                "This account has no password, which is what proves that it is you. Set one first.", code="no_password"
            )
        throttle.spend(context.request, throttle.mails_to(email))
        return email

    def save(self, request: Any) -> EmailAddress:
        self.address = addresses.start_move(self.user, self.cleaned_data["email"])
        return self.address


class ChangePasswordForm(Plain, account_forms.ChangePasswordForm):  # type: ignore[misc]
    labels: ClassVar = {
        "oldpassword": "Current password",
        "password1": "New password",
        "password2": "New password (again)",
    }

    def clean_oldpassword(self) -> str:
        """Counted like a wrong password at sign-in, too: it is the same password that is guessed here."""
        attempts = throttle.wrong_passwords(context.request, self.user)
        throttle.spend(context.request, throttle.password_changes(self.user), attempts)
        password = str(super().clean_oldpassword())
        throttle.forgive(attempts)
        return password


class ResetPasswordForm(Plain, account_forms.ResetPasswordForm):  # type: ignore[misc]
    labels: ClassVar = {"email": "E-mail address"}

    def clean_email(self) -> str:
        email = storable_email(self.cleaned_data["email"])
        throttle.spend(context.request, throttle.reset_requests(context.request), throttle.mails_to(email))
        self.users = list(User.objects.effective().filter(email=email))
        return email


class LinkUsed(Exception):
    """Raised when the link of a reset mail has set a password, or died otherwise, since its form was opened."""


class NewPasswordForm(Plain, account_forms.ResetPasswordKeyForm):  # type: ignore[misc]
    labels: ClassVar = {"password1": "New password", "password2": "New password (again)"}

    def save(self) -> None:
        """Whoever has the link has the mailbox: it goes to the address in use and dies with it. Raises LinkUsed."""
        self.user.set_password(self.cleaned_data["password1"])  # before the row is locked, because hashing takes time
        with transaction.atomic():
            present = User.objects.select_for_update(no_key=True).filter(pk=self.user.pk).first()
            if not default_token_generator.check_token(present, self.temp_key):
                raise LinkUsed
            self.user.save(update_fields=["password"])
            if present.last_login is None and not addresses.is_verified(present):
                # Nobody has shown to be the holder so far: not those either whose provider gave this address unverified.
                forget_providers(self.user)
            addresses.confirm(self.user)


class PasswordConfirmationForm(Plain, account_forms.ReauthenticateForm):  # type: ignore[misc]
    pass


# What the parsers of a credential raise at one that a browser would never send.
MALFORMED = (AttributeError, KeyError, TypeError, ValueError)
NOT_ACCEPTED = forms.ValidationError("This passkey was not accepted.", code="incorrect_code")


class PasskeyName(Plain):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"].validators += [MaxLengthValidator(LONGEST_PASSKEY_NAME), validate_name]
        self.fields["name"].widget.attrs["maxlength"] = str(LONGEST_PASSKEY_NAME)


class AddPasskeyForm(PasskeyName, webauthn_forms.AddWebAuthnForm):  # type: ignore[misc]
    def clean(self) -> Any:
        try:
            return super().clean()
        except MALFORMED:
            raise NOT_ACCEPTED from None


class Passkey:
    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except MALFORMED:
            raise NOT_ACCEPTED from None


class LoginPasskeyForm(Passkey, webauthn_forms.LoginWebAuthnForm):  # type: ignore[misc]
    pass


class AuthenticatePasskeyForm(Passkey, webauthn_forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class ReauthenticatePasskeyForm(Passkey, webauthn_forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class RenamePasskeyForm(PasskeyName, webauthn_forms.EditWebAuthnForm):  # type: ignore[misc]
    pass


class ThrottledCode(Plain):
    """A code of the authenticator app or from the recovery list: few tries, and each code once.

    allauth counts neither while its own rate limits are off.
    """

    def clean_code(self) -> str:
        request, user = context.request, self.user  # type: ignore[attr-defined]
        throttle.spend(request, throttle.wrong_codes(user))
        code = str(super().clean_code())  # type: ignore[misc]
        if not throttle.is_left(throttle.code_reuse(user, code)):
            raise forms.ValidationError("This code was used already. Wait for the next one.", code="code_used")
        throttle.forgive(throttle.wrong_codes(user))
        return code


class AuthenticateForm(ThrottledCode, mfa_forms.AuthenticateForm):  # type: ignore[misc]
    pass


class MFAReauthenticateForm(ThrottledCode, mfa_forms.ReauthenticateForm):  # type: ignore[misc]
    pass


class ActivateTOTPForm(ThrottledCode, totp_forms.ActivateTOTPForm):  # type: ignore[misc]
    labels: ClassVar = {"code": "Code of the app"}
