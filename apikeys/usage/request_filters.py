"""The filters of the request log.

An index serves the time, the user, the key and the reasons of denials. The others read every request of the period, so they
cover one day unless a start is chosen.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import cached_property

from apikeys.models import APIKey, KeyUsage
from apikeys.models.usage import DENIED, REASONS
from apikeys.usage.fields import KeyField, KeyInput, UserField, UserInput
from config.base.filters import FilterBar, FilterBarBuilder, Layout, SearchInput
from config.base.forms import AddressField, HostField, TimeField, TimeInput
from config.base.hosts import MAX_GIVEN_LENGTH
from ratelimits.matching import MAX_METHOD_LENGTH
from ratelimits.models import RateLimit
from tiers.models import Tier

DAY = timedelta(days=1)
VERDICTS = (
    ("allowed", "Allowed"),
    ("denied", "Denied, for any reason"),
    ("Denied", tuple(REASONS.items())),
)
STATUS = r"\A[1-5]([0-9]{2}|xx)\Z"
SEGMENT = re.compile(r"\{[^{}]*\}")
NUMBER = re.compile(r"[0-9]{1,18}")
MAX_AMOUNT = 2**63 - 1
WITHOUT_TIME = "Without a start time, this only searches 24 hours."
NOTES = dict.fromkeys(("Tier", "Rate limit", "Request", "Result"), WITHOUT_TIME)
TIME = ("Time", "since", "until")
REQUEST = ("Request", "method", "host", "address")
RESULT = ("Result", "status", "slower", "tokens", "cost", "error")


class LimitField(forms.CharField):
    """The name of a rate limit, or its number, which stays when the name changes."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        limits = RateLimit.objects.order_by("is_deleted", "-pk")
        limit = limits.filter(name=text).first()
        if limit is None and NUMBER.fullmatch(text):
            limit = limits.filter(pk=text).first()
        if limit is None:
            raise ValidationError("There is no rate limit with this name.")
        return limit


class FieldFilter(django_filters.Filter):  # type: ignore[misc]
    """A filter with a form field of this class."""

    def __init__(self, field_class: type[forms.Field], field_name: str, lookup: str = "exact", **options: Any) -> None:
        self.field_class = field_class
        super().__init__(field_name, lookup, **options)


def at_least(field_name: str, label: str) -> FieldFilter:
    return FieldFilter(forms.IntegerField, field_name, "gte", label=label, min_value=0, max_value=MAX_AMOUNT)


def regex_of(pattern: str) -> str:
    """The regular expression for a pattern such as /orders/{id} or /orders/*."""
    segments = pattern.removesuffix("/*").split("/")
    path = "/".join("[^/]+" if SEGMENT.fullmatch(segment) else re.escape(segment) for segment in segments)
    return f"^{path}{'(/.*)?' if pattern.endswith('/*') else ''}$"


def mono(placeholder: str = "") -> forms.TextInput:
    return forms.TextInput(attrs={"class": "mono", "placeholder": placeholder})


class RequestFilter(django_filters.FilterSet):  # type: ignore[misc]
    since = FieldFilter(TimeField, "created_at", "gte", label="From", widget=TimeInput)
    until = FieldFilter(TimeField, "created_at", "lt", label="Until", widget=TimeInput)
    verdict = django_filters.ChoiceFilter(label="Verdict", method="filter_verdict", choices=VERDICTS, empty_label="Any")
    limit = FieldFilter(LimitField, "rate_limit", label="Rate limit", max_length=100)
    status = django_filters.CharFilter(
        label="Status",
        method="filter_status",
        max_length=3,
        validators=[RegexValidator(STATUS, "Enter a status such as 404, or 4xx for all of a kind.")],
        widget=mono("404 or 4xx"),
    )
    method = django_filters.CharFilter("method", label="Method", max_length=MAX_METHOD_LENGTH, widget=mono("GET"))
    host = FieldFilter(HostField, "host", label="Host", max_length=MAX_GIVEN_LENGTH, widget=mono("api.example.com"))
    path = django_filters.CharFilter(
        label="Path",
        method="filter_path",
        max_length=255,
        widget=SearchInput("Search by path, such as /orders/{id} or /orders/*", "mono"),
        help_text=WITHOUT_TIME,
    )
    address = FieldFilter(AddressField, "ip_address", label="Client address", max_length=60, widget=mono())
    slower = at_least("response_time_ms", "Slower than (ms)")
    tokens = at_least("tokens_used", "Tokens, at least")
    cost = at_least("cost_microcents", "Microcents, at least")
    error = django_filters.CharFilter("error_message", "icontains", label="Error contains", max_length=100)
    layout: ClassVar[Layout]
    indexed: ClassVar[set[str]] = {"since", "until", "verdict", "key", "user"}

    class Meta:
        model = KeyUsage
        fields = ()

    def __init__(self, data: QueryDict, **options: Any) -> None:
        super().__init__(data, **options)
        chosen = {name for name in self.filters if data.get(name)}
        # Whether only the last day is shown because no period was chosen.
        self.covers_a_day = bool(chosen - self.indexed) and "since" not in chosen

    @cached_property
    def bar(self) -> FilterBar:
        return FilterBarBuilder(self.form, self.data, NOTES).build(self.layout, search="path")

    @property
    def qs(self) -> QuerySet[KeyUsage]:
        found: QuerySet[KeyUsage] = super().qs
        if not self.covers_a_day or not self.form.is_valid():
            return found
        return found.filter(created_at__gte=(self.form.cleaned_data["until"] or timezone.now()) - DAY)

    def filter_verdict(self, rows: QuerySet[KeyUsage], name: str, value: str) -> QuerySet[KeyUsage]:
        if value == "allowed":
            return rows.filter(reason="")
        denied = rows.filter(DENIED)
        return denied if value == "denied" else denied.filter(reason=value)

    def filter_status(self, rows: QuerySet[KeyUsage], name: str, value: str) -> QuerySet[KeyUsage]:
        if value.isdecimal():
            return rows.filter(status_code=value)
        first = int(value[0]) * 100
        return rows.filter(status_code__gte=first, status_code__lt=first + 100)

    def filter_path(self, rows: QuerySet[KeyUsage], name: str, value: str) -> QuerySet[KeyUsage]:
        if "{" in value:
            return rows.filter(endpoint__regex=regex_of(value))
        if value.endswith("/*"):
            return rows.filter(Q(endpoint=value[:-2]) | Q(endpoint__startswith=value[:-1]))
        below = value.removesuffix("*")
        return rows.filter(endpoint=value) if below == value else rows.filter(endpoint__startswith=below)


def own_keys(request: Any) -> QuerySet[APIKey]:
    keys: QuerySet[APIKey] = APIKey.objects.live().filter(user=request.user).order_by("name", "pk")
    return keys


class OwnRequestFilter(RequestFilter):
    """What users filter their own requests by."""

    key = django_filters.ModelChoiceFilter(field_name="api_key", label="API key", queryset=own_keys, empty_label="Any")
    layout = (TIME, "verdict", "key", "limit", REQUEST, RESULT)


class StaffRequestFilter(RequestFilter):
    user = FieldFilter(UserField, "user", label="User", max_length=254, widget=UserInput)
    key = FieldFilter(KeyField, "api_key", label="API key", widget=KeyInput)
    tier = django_filters.ModelChoiceFilter(
        field_name="user__tier", label="Tier", queryset=Tier.objects.live(), empty_label="Any"
    )
    layout = (TIME, "verdict", "user", "key", "tier", "limit", REQUEST, RESULT)
