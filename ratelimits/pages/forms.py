from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from ratelimits.matching import AmbiguousPath, canonical_path
from tiers.models import Tier

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class MatchForm(forms.Form):
    """A request to test the rate limits of a tier with."""

    method = forms.ChoiceField(choices=[(name, name) for name in METHODS])
    path = forms.CharField(
        max_length=2000,
        initial="/",
        strip=False,
        help_text="As a client sends it, percent-encoded. The query string is ignored.",
    )
    tier = forms.ModelChoiceField(Tier.objects.live(), empty_label="Choose a tier")

    # Whose budgets to show, such as user:7; empty: nobody's.
    owner = ""

    def clean_path(self) -> str:
        path: str = self.cleaned_data["path"]
        try:
            self.canonical = canonical_path(path)
        except AmbiguousPath as error:
            raise ValidationError(f"This request would be denied (ambiguous_path): {error}") from error
        return path


class CopyForm(forms.Form):
    source = forms.ModelChoiceField(Tier.objects.live(), label="From tier", empty_label="Choose a tier")
    target = forms.ModelChoiceField(Tier.objects.live(), label="To tier", empty_label="Choose a tier")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("source") is not None and data.get("source") == data.get("target"):
            raise ValidationError({"target": "Choose a different tier."})
        return data
