from __future__ import annotations

import time
import zoneinfo
from itertools import groupby
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.app_settings import REAUTHENTICATION_TIMEOUT
from allauth.account.authentication import get_authentication_records
from django import forms
from django.core.files.base import ContentFile
from django.http import HttpRequest

from accounts.models import User
from accounts.pictures import reencode
from accounts.signin import throttle
from config.base.stale import EditForm

AREAS = (
    "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific",
)  # fmt: skip


def time_zones() -> list[Any]:
    """UTC, and those named after places, grouped by area."""
    places = (name.partition("/") for name in sorted(zoneinfo.available_timezones()) if name.startswith(AREAS))
    groups = [
        (area, [(f"{area}/{place}", place.replace("_", " ")) for _, _, place in found])
        for area, found in groupby(places, key=lambda parts: parts[0])
    ]
    return [("UTC", "UTC"), *groups]


class ProfileForm(EditForm):
    class Meta:
        model = User
        fields = ("name", "username")
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "username": forms.TextInput(attrs={"autocomplete": "username"}),
        }


class SettingsForm(EditForm):
    time_zone = forms.ChoiceField(
        choices=time_zones,
        help_text="Times on pages and in emails to you are in this zone. Charts and exports use UTC.",
    )

    class Meta:
        model = User
        fields = ("time_zone", "rows_per_page", "theme")
        help_texts = {"rows_per_page": "Applies to all lists."}


class ThemeForm(forms.Form):
    theme = forms.ChoiceField(choices=User.Theme.choices)


class PictureForm(forms.Form):
    picture = forms.FileField(
        label="New picture",
        help_text="JPEG, PNG, WebP or GIF, at most 5 MB. We resize it and remove its metadata.",
        widget=forms.FileInput(attrs={"accept": "image/jpeg,image/png,image/webp,image/gif"}),
        error_messages={"required": "Choose a picture.", "empty": "This file is empty. Choose a picture."},
    )

    def clean_picture(self) -> ContentFile[bytes]:
        return reencode(self.cleaned_data["picture"])


def signed_in_recently(request: HttpRequest) -> bool:
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
        # Without a password, a recent sign-in proves who they are.
        if "password" not in self.fields and not signed_in_recently(self.request):
            raise forms.ValidationError(
                "Sign out, sign in again, then close your account within five minutes.", code="sign_in_again"
            )
        return super().clean()

    def clean_password(self) -> str:
        # A wrong password counts here as it does at sign-in.
        password: str = self.cleaned_data["password"]
        attempts = throttle.wrong_passwords(self.request, self.user)
        throttle.spend(self.request, attempts)
        if not self.user.check_password(password):
            raise get_adapter().validation_error("incorrect_password")
        throttle.forgive(attempts)
        return password
