from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from config.base.admin import RowFormSet
from config.base.forms import HostField, LiveChoicesForm
from config.base.hosts import MAX_GIVEN_LENGTH
from ratelimits.matching import AmbiguousPath, canonical_path
from ratelimits.models import RateLimit
from ratelimits.rules import NO_RULES
from tiers.models import Tier

# Beyond these, the page of a tier would send more fields than Django accepts: it links to the list instead.
MAX_ON_PAGE = 40
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class LimitForm(LiveChoicesForm):
    """A rate limit, wherever it's created or edited."""

    class Meta:
        model = RateLimit
        fields: Sequence[str] = (
            "path", "method", "host", "limit", "unit", "window", "period", "overall", "mode", "name"
        )  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "unit" in self.fields:
            self.fields["unit"].required = False  # a script that leaves it out means requests
        if "limit" in self.fields:
            self.fields["limit"].widget.attrs["min"] = 1

    def _get_validation_exclusions(self) -> set[str]:
        # The owner may not be on the form, but is part of what makes a rule unique. A tier that isn't saved yet has no others.
        exclusions: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        is_unsaved = self.instance.tier is not None and self.instance.tier_id is None
        return exclusions if is_unsaved else exclusions - {"user", "tier"}


class TierLimits(RowFormSet):
    """The rate limits on the page of a tier, each validated beside the others as they will be."""

    def __init__(self, data: Any = None, *args: Any, **options: Any) -> None:
        tier = options["instance"]
        limits = RateLimit.objects.live().filter(tier=tier) if tier.pk else RateLimit.objects.none()
        # Those that the page doesn't show.
        self.others = list(limits) if limits.count() > MAX_ON_PAGE else []
        super().__init__(data, *args, **options | {"queryset": limits.none() if self.others else limits})

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        for field in form.fields.values() if index else ():
            field.help_text = ""  # the first row says it
        form.instance.tier = self.instance
        form.instance.beside = ()  # until all are known

    def clean(self) -> None:
        super().clean()
        forms: list[Any] = [] if any(self.errors) else self.forms
        kept = [form for form in forms if form not in self.deleted_forms and (form.instance.pk or form.has_changed())]
        for form in kept:
            if form.has_changed():
                self.check_form(form, [*self.others, *(other.instance for other in kept if other is not form)])

    def check_form(self, form: Any, beside: list[RateLimit]) -> None:
        form.instance.beside = beside
        try:
            form.instance.check_neighbours()
        except ValidationError as error:
            form.add_error(None, error)
        if any(form.instance.name == other.name for other in beside):
            form.add_error("name", "Another rate limit has this name. Choose a different name.")


class MatchForm(forms.Form):
    """A request to test the rate limits of a tier with."""

    method = forms.ChoiceField(choices=[(name, name) for name in METHODS])
    path = forms.CharField(
        max_length=2000,
        initial="/",
        strip=False,
        help_text="As a client sends it, percent-encoded. The query string is ignored.",
    )
    host = HostField(
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


class CopyForm(forms.Form):
    source = forms.ModelChoiceField(Tier.objects.live(), label="From tier", empty_label="Choose a tier")
    target = forms.ModelChoiceField(Tier.objects.live(), label="To tier", empty_label="Choose a tier")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("source") is not None and data.get("source") == data.get("target"):
            raise ValidationError({"target": "Choose a different tier."})
        return data
