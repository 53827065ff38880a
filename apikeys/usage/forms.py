from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, ClassVar

from django import forms
from django.core.validators import MaxLengthValidator
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import cached_property

from accounts.models import User
from apikeys.models import APIKey, APIKeyQuerySet
from apikeys.usage.analytics import TimeRange, UsageScope
from apikeys.usage.fields import UserField, UserInput
from config.base.filters import Chip, FilterBar, FilterBarBuilder, Layout, query_without
from config.base.forms import DayInput, HostField
from config.base.hosts import MAX_GIVEN_LENGTH
from tiers.models import Tier

MAX_DAYS = 366
DEFAULT_DAYS = 30
MAX_KEYS = 12
PERIOD = ("Period", "first", "last")
ENDPOINT = ("Endpoint", "endpoint", "host")
EARLIEST, LATEST = date(2000, 1, 1), date(2200, 1, 1)


class UsageForm(forms.Form):
    """The filter of the usage pages, bound to the query string. By default it selects the last 30 days."""

    first = forms.DateField(label="From", required=False, widget=DayInput, input_formats=["%Y-%m-%d"])
    last = forms.DateField(label="To", required=False, widget=DayInput, input_formats=["%Y-%m-%d"])
    key = forms.ModelMultipleChoiceField(
        APIKey.objects.none(),
        required=False,
        widget=forms.MultipleHiddenInput,
        validators=[MaxLengthValidator(MAX_KEYS, f"Choose at most {MAX_KEYS} keys.")],
        error_messages={"invalid_choice": "There is no API key with this ID."},
    )
    endpoint = forms.CharField(
        max_length=255, required=False, widget=forms.TextInput(attrs={"placeholder": "/orders", "class": "mono"})
    )
    host = HostField(
        max_length=MAX_GIVEN_LENGTH,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "api.example.com", "class": "mono"}),
    )
    time_range: TimeRange
    layout: ClassVar[Layout] = (PERIOD, ENDPOINT)

    def __init__(self, data: QueryDict, *, keys: APIKeyQuerySet, owner: User | None = None) -> None:
        super().__init__(with_default_days(data))
        self.given = data
        choices: Any = self.fields["key"]
        choices.queryset = keys
        self.owner = owner

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for name in ("first", "last"):
            if data.get(name) is not None and not EARLIEST <= data[name] <= LATEST:
                self.add_error(name, "Choose a day between 2000 and 2200.")
        last = data.get("last") or timezone.now().date()
        first = data.get("first") or last - timedelta(days=DEFAULT_DAYS - 1)
        if first > last:
            self.add_error("first", "The first day must not be after the last day.")
        elif (last - first).days >= MAX_DAYS:
            self.add_error("first", f"Choose at most {MAX_DAYS} days.")
        if not self.errors:
            self.time_range = TimeRange.of_days(first, last)
        return data

    @cached_property
    def bar(self) -> FilterBar:
        return FilterBarBuilder(self, self.given).build(self.layout, chips=self.key_chips())

    def key_chips(self) -> Iterator[Chip]:
        """One for each key, or one for all if there are unknown ones among them."""
        if "key" in self.errors:
            yield Chip("API key", ", ".join(self.given.getlist("key")), query_without(self.given, "key"))
        keys: list[APIKey] = list(self.cleaned_data.get("key") or ())
        for key in keys:
            query = QueryDict(query_without(self.given, "key"), mutable=True)
            query.setlist("key", [str(other.pk) for other in keys if other != key])
            yield Chip("API key", key.name, query.urlencode())

    def scope(self) -> UsageScope:
        data = self.cleaned_data
        user, tier = data.get("user") or self.owner, data.get("tier")
        return UsageScope(
            user_id=user.pk if user else None,
            tier_id=tier.pk if tier else None,
            keys=tuple(key.pk for key in data["key"]) or None,
            endpoint=data["endpoint"],
            host=data["host"],
        )


class StaffUsageForm(UsageForm):
    user = UserField(max_length=254, required=False, widget=UserInput)
    tier = forms.ModelChoiceField(Tier.objects.live(), required=False, empty_label="Any")
    layout = (PERIOD, "user", "tier", ENDPOINT)


def with_default_days(query: QueryDict) -> QueryDict:
    data = query.copy()
    if not data.get("first") and not data.get("last"):
        days = TimeRange.of_last_days(DEFAULT_DAYS).days
        data["first"], data["last"] = days[0].isoformat(), days[-1].isoformat()
    return data
