"""Which usage to show: the days, and whose."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, APIKeyQuerySet
from apikeys.usage.analytics import Scope, Window
from config.base.forms import DayInput, LiveChoicesForm
from ratelimits.matching import normal_pattern
from ratelimits.models import RateLimit
from tiers.models import Tier

LONGEST_RANGE = 366
USUAL_RANGE = 30
MOST_KEYS = 12
EARLIEST, LATEST = date(2000, 1, 1), date(2200, 1, 1)


class KeysField(forms.Field):
    """The texts of all `key` parameters."""

    def to_python(self, value: Any) -> list[str]:
        return [str(text) for text in value or [] if text]


class UsageForm(forms.Form):
    """The filter of the usage pages; bound to the query string. Nothing chosen: the last 30 days of all that may be seen."""

    first = forms.DateField(label="From", required=False, widget=DayInput, input_formats=["%Y-%m-%d"])
    last = forms.DateField(label="To", required=False, widget=DayInput, input_formats=["%Y-%m-%d"])
    key = KeysField(required=False, widget=forms.MultipleHiddenInput)
    endpoint = forms.CharField(
        max_length=255, required=False, widget=forms.TextInput(attrs={"placeholder": "/orders", "class": "mono"})
    )

    def __init__(self, data: QueryDict, *, keys: APIKeyQuerySet) -> None:
        super().__init__(with_usual_days(data))
        self.visible_keys = keys
        self.chosen_keys: list[APIKey] = []

    def clean_key(self) -> list[APIKey]:
        """The keys that are named and may be seen; a key that may not be seen is as one that does not exist."""
        named = self.cleaned_data["key"][: MOST_KEYS + 1]
        if len(named) > MOST_KEYS:
            raise ValidationError(f"At most {MOST_KEYS} keys at once.")
        try:
            ids = [UUID(text) for text in named]
        except ValueError:
            raise ValidationError("There is no such key.") from None
        found = list(self.visible_keys.filter(pk__in=ids).select_related("user"))
        if len(found) != len(set(ids)):
            raise ValidationError("There is no such key.")
        self.chosen_keys = found
        return found

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        today = timezone.now().date()
        for name in ("first", "last"):
            if data.get(name) is not None and not EARLIEST <= data[name] <= LATEST:
                self.add_error(name, "Choose a day between 2000 and 2200.")
        last = data.get("last") or today
        first = data.get("first") or last - timedelta(days=USUAL_RANGE - 1)
        if first > last:
            self.add_error("first", "The first day lies after the last one.")
        elif (last - first).days >= LONGEST_RANGE:
            self.add_error("first", f"At most {LONGEST_RANGE} days at once.")
        self.window = Window.of_days(first, last) if not self.errors else Window.of_last_days(USUAL_RANGE)
        return data

    def scope(self) -> Scope:
        """What the valid form asks for."""
        keys = tuple(key.pk for key in self.chosen_keys) or None
        return Scope(keys=keys, endpoint=self.cleaned_data["endpoint"])


class StaffUsageForm(UsageForm):
    user = forms.CharField(
        label="Account",
        max_length=254,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "username or e-mail"}),
    )
    tier = forms.ModelChoiceField(Tier.objects.live(), required=False, empty_label="Any")

    def clean_user(self) -> User | None:
        text = self.cleaned_data["user"]
        if not text:
            return None
        user: User | None = User.objects.named(text).order_by("is_deleted", "-pk").first()
        if user is None:
            raise ValidationError("There is no account with this username or address.")
        return user

    def scope(self) -> Scope:
        scope, user, tier = super().scope(), self.cleaned_data["user"], self.cleaned_data["tier"]
        return Scope(
            keys=scope.keys,
            endpoint=scope.endpoint,
            user_id=user.pk if user else None,
            tier_id=tier.pk if tier else None,
        )


def with_usual_days(query: QueryDict) -> QueryDict:
    """The query with the days that it leaves open, so that the form shows what is shown."""
    data = query.copy()
    if not data.get("first") and not data.get("last"):
        window = Window.of_last_days(USUAL_RANGE)
        data["first"], data["last"] = window.days[0].isoformat(), window.days[-1].isoformat()
    return data


class WhatIfForm(LiveChoicesForm):
    """The fields of a rate limit that decide what it denies; never saved."""

    class Meta:
        model = RateLimit
        fields = ("tier", "path", "method", "limit", "period", "window")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tier: Any = self.fields["tier"]
        tier.empty_label = "Choose a tier"

    def clean(self) -> dict[str, Any]:
        """Try an existing limit with other numbers, instead of rejecting it as a duplicate."""
        data: dict[str, Any] = super().clean()
        kind = {name: data.get(name) for name in ("tier", "path", "method", "window", "period")}
        if self.instance.pk is None and None not in kind.values():
            kind["path"] = normal_pattern(str(kind["path"]))
            self.instance = RateLimit.objects.live().filter(**kind).first() or self.instance
        return data
