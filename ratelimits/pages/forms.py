"""Forms of the staff pages about limits."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from ratelimits.matching import AmbiguousPath, canonical_path
from tiers.models import Tier

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class MatchForm(forms.Form):
    """A request as it would come in, and who would make it."""

    method = forms.ChoiceField(choices=[(name, name) for name in METHODS])
    path = forms.CharField(
        max_length=2000,
        initial="/",
        strip=False,
        help_text="As a client sends it, percent-encoded; a query is ignored.",
    )
    tier = forms.ModelChoiceField(
        Tier.objects.live(), required=False, empty_label="That of the account", help_text="Or name an account below."
    )
    user = forms.CharField(
        max_length=254, required=False, label="Account", help_text="Username or e-mail address. Its tier applies."
    )

    def clean_path(self) -> str:
        path: str = self.cleaned_data["path"]
        try:
            self.canonical = canonical_path(path)
        except AmbiguousPath as error:
            raise ValidationError(f"Such a request is refused (ambiguous_path): {error}") from error
        return path

    def clean_user(self) -> Any:
        if not self.cleaned_data["user"]:
            return None
        accounts: Any = get_user_model()._default_manager
        user = accounts.by_sign_in_name(self.cleaned_data["user"])
        if user is None:
            raise ValidationError("There is no such account.")
        return user

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors and data.get("tier") is None and data.get("user") is None:
            raise ValidationError("Choose a tier, or name an account.")
        return data


class CopyForm(forms.Form):
    source = forms.ModelChoiceField(Tier.objects.live(), label="From tier", empty_label="Choose a tier")
    target = forms.ModelChoiceField(Tier.objects.live(), label="To tier", empty_label="Choose a tier")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("source") is not None and data.get("source") == data.get("target"):
            raise ValidationError({"target": "Choose another tier than the one the limits come from."})
        return data
