"""The forms of an account holder on his own account. What is not a field here cannot be sent: tier, staff, owner."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files.base import ContentFile

from accounts.models import User
from accounts.pictures import redrawn


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
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


class CloseForm(forms.Form):
    password = forms.CharField(
        label="Your password",
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user = user
        if not user.has_usable_password():
            # Who signs in through a provider only has shown himself anew before this form opens.
            del self.fields["password"]

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not self.user.check_password(password):
            raise forms.ValidationError("This is not your password.", code="wrong_password")
        return password
