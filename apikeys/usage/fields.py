"""Fields for a user and a key, with suggestions as you type."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse_lazy

from accounts.models import User
from apikeys.models import APIKey


class UserField(forms.CharField):
    """A username or an email address."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        user = User.objects.with_login(text).order_by("is_deleted", "-pk").first()
        if user is None:
            raise ValidationError("There is no user with this username or email address.")
        return user


class KeyField(forms.UUIDField):
    """The ID of a key."""

    def clean(self, value: Any) -> Any:
        pk = super().clean(value)
        key = APIKey.objects.filter(pk=pk).first() if pk else None
        if pk and key is None:
            raise ValidationError("There is no API key with this ID.")
        return key


class UserInput(forms.TextInput):
    def __init__(self) -> None:
        super().__init__({"placeholder": "Username or email", "data-suggest": reverse_lazy("usage:suggest_users")})


class KeyInput(forms.TextInput):
    def __init__(self) -> None:
        attrs = {"placeholder": "ID", "class": "mono", "maxlength": "45"}  # the longest spelling of a UUID
        super().__init__(attrs | {"data-suggest": reverse_lazy("usage:suggest_keys")})


# The permission that the suggestions of a field need.
SUGGESTED = {"user": "accounts.view_user", "key": "apikeys.view_apikey"}


def leave_out_suggestions(form: Any, user: Any) -> None:
    """Remove suggestions that `user` has no permission to see."""
    for name, permission in SUGGESTED.items():
        if name in form.fields and not user.has_perm(permission):
            form.fields[name].widget.attrs.pop("data-suggest", None)
