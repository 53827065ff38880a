"""Form fields for what only keys have: a moment in UTC, a list of addresses."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from apikeys.validators import normal_networks

LONGEST_MOMENT = 40
LONGEST_LIST = 8_000
# Brackets and quotes as well: lists are pasted as JSON, and IPv6 addresses as they stand in URLs.
SEPARATORS = re.compile(r"[\s,;\[\]\"']+")


class MomentField(forms.Field):
    """A day (the moment it ends, in UTC) or an ISO 8601 time with its offset. A time without offset is refused: it would
    mean something else to each reader.
    """

    def to_python(self, value: Any) -> Any:
        text = str(value or "").strip()
        if not text:
            return None
        if len(text) > LONGEST_MOMENT:
            raise ValidationError("Give a day, such as 2027-03-31.", code="invalid")
        try:
            return end_of_day(date.fromisoformat(text))
        except ValueError:
            return aware(text)
        except OverflowError:
            raise ValidationError("This day is too far off.", code="invalid") from None


def end_of_day(day: date) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def aware(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
        if value.tzinfo is not None:
            return value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValidationError("Give a day, such as 2027-03-31.", code="invalid") from None
    raise ValidationError(
        "Give the offset from UTC with the time, such as 2027-03-31T18:00Z, or a day alone.", code="naive"
    )


class NetworksField(forms.CharField):
    """Addresses and networks, one a line (or parted by spaces or commas)."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=LONGEST_LIST, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        return normal_networks([entry for entry in SEPARATORS.split(super().clean(value)) if entry])

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)
