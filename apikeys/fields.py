"""Form fields for API keys: an expiry, a list of networks."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from apikeys.validators import normalize_networks
from config.base.text import start_of_day

MAX_EXPIRY_LENGTH = 40
MAX_NETWORKS_LENGTH = 8_000
LAST_YEAR = 9997
ENTER_DAY = "Enter a day, for example 2027-03-31."
# With brackets and quotes: people paste lists as JSON, and IPv6 addresses from URLs.
SEPARATORS = re.compile(r"[\s,;\[\]\"']+")


class ExpiryField(forms.Field):
    """Cleans to a datetime: the end of a day in the time zone of whoever enters it, or an ISO 8601 time with its offset."""

    def to_python(self, value: Any) -> Any:
        text = str(value or "").strip()
        if not text:
            return None
        if len(text) > MAX_EXPIRY_LENGTH:
            raise ValidationError(ENTER_DAY, code="invalid")
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return parse_datetime(text)
        if day.year > LAST_YEAR:
            raise ValidationError("This day is too far in the future.", code="invalid")
        return end_of_day(day)


def end_of_day(day: date) -> datetime:
    return (start_of_day(day) + timedelta(days=1)).astimezone(UTC)


def parse_datetime(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
        if value.tzinfo is not None:
            return value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValidationError(ENTER_DAY, code="invalid") from None
    raise ValidationError(
        "Add the offset from UTC to the time, for example 2027-03-31T18:00Z, or enter only a day.", code="naive"
    )


class NetworksField(forms.CharField):
    """Addresses and networks, separated by line breaks, spaces or commas."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MAX_NETWORKS_LENGTH, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        return normalize_networks([entry for entry in SEPARATORS.split(super().clean(value)) if entry])

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)
