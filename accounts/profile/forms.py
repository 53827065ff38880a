"""The forms of an account holder on his own account. What is not a field here cannot be sent: tier, staff, owner."""

from __future__ import annotations

import time
from typing import Any

from allauth.account.app_settings import REAUTHENTICATION_TIMEOUT
from allauth.account.authentication import get_authentication_records
from django import forms
from django.core.files.base import ContentFile
from django.http import HttpRequest

from accounts.models import User
from accounts.pictures import redrawn
from accounts.signin import throttle
from config.base.stale import EditForm


class ProfileForm(EditForm):
    class Meta:
        model = User
        fields = ("name", "username")
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "username": forms.TextInput(
                attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
            ),
        }


class PictureForm(forms.Form):
    picture = forms.FileField(
        label="New picture",
        help_text="JPEG, PNG, WebP or GIF, at most 5 MB. It is made smaller, and what the camera noted in it is removed.",
        widget=forms.FileInput(attrs={"accept": "image/jpeg,image/png,image/webp,image/gif"}),
        error_messages={"required": "Choose a picture first.", "empty": "This file is empty. Choose a picture."},
    )

    def clean_picture(self) -> ContentFile[bytes]:
        return redrawn(self.cleaned_data["picture"])


def signed_in_lately(request: HttpRequest) -> bool:
    records = get_authentication_records(request, request.user)
    return any(time.time() - record["at"] < REAUTHENTICATION_TIMEOUT for record in records)


class CloseForm(forms.Form):
    password = forms.CharField(
        label="Your password",
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, request: HttpRequest, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        self.request, self.user = request, user
        if not user.has_usable_password():
            del self.fields["password"]

    def clean(self) -> dict[str, Any] | None:
        """Who signs in through a provider only has no password to give: he shows himself by a fresh sign-in."""
        if "password" not in self.fields and not signed_in_lately(self.request):
            raise forms.ValidationError(
                "Sign out and sign in again first; then close the account within five minutes.", code="sign_in_again"
            )
        return super().clean()

    def clean_password(self) -> str:
        """Counted like a wrong password at sign-in: who finds an open session must not guess on here."""
        password: str = self.cleaned_data["password"]
        attempts = throttle.wrong_passwords(self.request, self.user)
        throttle.spend(self.request, attempts)
        if not self.user.check_password(password):
            raise forms.ValidationError("This is not your password.", code="wrong_password")
        throttle.forgive(attempts)
        return password
