from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from config.base.hosts import MAX_GIVEN_LENGTH, normal_host
from ratelimits.matching import AmbiguousPath, canonical_path
from ratelimits.rules import NO_RULES
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
    host = forms.CharField(
        max_length=MAX_GIVEN_LENGTH,
        required=False,
        help_text="For example api.example.com. Only rate limits with a host need it.",
    )
    tier = forms.ModelChoiceField(Tier.objects.live(), empty_label="Choose a tier")

    # Whose budgets to show, such as user:7; empty: nobody's. And their own rate limits.
    owner = ""
    own = NO_RULES
    billing_day = 1

    def clean_path(self) -> str:
        path: str = self.cleaned_data["path"]
        try:
            self.canonical = canonical_path(path)
        except AmbiguousPath as error:
            raise ValidationError(f"This request would be denied (ambiguous_path): {error}") from error
        return path

    def clean_host(self) -> str:
        given: str = self.cleaned_data["host"]
        if given and not normal_host(given):
            raise ValidationError("Enter a valid host, for example api.example.com.")
        return normal_host(given)


class CopyForm(forms.Form):
    source = forms.ModelChoiceField(Tier.objects.live(), label="From tier", empty_label="Choose a tier")
    target = forms.ModelChoiceField(Tier.objects.live(), label="To tier", empty_label="Choose a tier")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("source") is not None and data.get("source") == data.get("target"):
            raise ValidationError({"target": "Choose a different tier."})
        return data
