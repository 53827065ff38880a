from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput

from config.base.hosts import normal_host
from config.base.http import plain_address
from config.base.json import json_problem
from config.base.models import SoftDeleteModel, lock_if_live

MAX_JSON_LENGTH = 20_000
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class LiveChoicesForm(forms.ModelForm):  # type: ignore[type-arg]
    """A model form whose foreign keys offer live rows and the current one, so that saving it unchanged keeps it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            queryset: Any = getattr(field, "queryset", None)
            if queryset is not None and issubclass(queryset.model, SoftDeleteModel):
                choice: Any = field
                choice.queryset = queryset.live_or_current(getattr(self.instance, f"{name}_id", None))
                choice.label_from_instance = label_with_state

    def clean(self) -> dict[str, Any]:
        """Lock what was chosen, because it may have been deleted since validation."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in self.changed_data:
            row = cleaned.get(name)
            if isinstance(row, SoftDeleteModel) and not lock_if_live(row):
                self.add_error(name, f"“{row}” has just been deleted. Choose another one.")
        return cleaned


def label_with_state(row: Any) -> str:
    return f"{row} (deleted)" if row.deleted_at is not None else str(row)


class DayInput(forms.DateInput):
    """The browser's date picker, which needs ISO 8601."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class TimeInput(forms.DateTimeInput):
    """The browser's picker of a day and a time, which needs ISO 8601; and the time zone it is in."""

    input_type = "datetime-local"
    template_name = "base/time_input.html"

    def __init__(self) -> None:
        super().__init__(attrs={"step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class AffixInput(forms.TextInput):
    """With the unit before or after it, which screen readers read as part of the description."""

    template_name = "base/affix_input.html"

    def __init__(self, attrs: dict[str, Any] | None = None, *, prefix: str = "", suffix: str = "") -> None:
        super().__init__(attrs)
        self.affixes = {"prefix": prefix, "suffix": suffix}

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        attrs = context["widget"]["attrs"]
        if "id" in attrs:
            ids = [f"{attrs['id']}_{place}" for place, text in self.affixes.items() if text]
            attrs["aria-describedby"] = " ".join(filter(None, [*ids, attrs.get("aria-describedby")]))
        return context | self.affixes


def number_input(unit: str) -> AffixInput:
    return AffixInput({"inputmode": "numeric"}, suffix=unit)


class TimeField(forms.DateTimeField):
    """A time in the zone of whoever enters it, or in ISO 8601 with its offset. Cleans to a time in UTC."""

    default_error_messages = {"invalid": "Enter a valid date and time, for example 2027-01-31 00:00."}

    def to_python(self, value: Any) -> datetime | None:
        time = super().to_python(value)
        if time is not None and not EARLIEST <= time < LATEST:
            raise ValidationError("Choose a time between 2000 and 2200.")
        return time and time.astimezone(UTC)

    def bound_data(self, data: Any, initial: Any) -> Any:
        # Links have times in UTC, the browser's picker takes local ones only.
        if not str(data).endswith("Z"):
            return data
        try:
            return self.to_python(data)
        except ValidationError:
            return data


class AddressField(forms.CharField):
    """The IP address of a client, without a port."""

    def clean(self, value: Any) -> str:
        text = super().clean(value)
        address = plain_address(text)
        if text and not address:
            raise ValidationError("Enter a valid IPv4 or IPv6 address.")
        return address


class HostField(forms.CharField):
    """The host of a request: in lower case, without a port."""

    def clean(self, value: Any) -> str:
        text = super().clean(value)
        host = normal_host(text)
        if text and not host:
            raise ValidationError("Enter a valid host, for example api.example.com.")
        return host


class SafeAutocompleteSelect(AutocompleteSelect):
    """Shows an impossible value as nothing chosen, where Django's widget raises an error."""

    def optgroups(self, name: str, value: Sequence[str], attrs: dict[str, Any] | None = None) -> Any:
        return super().optgroups(name, [text for text in value if self.is_a_row(text)], attrs)

    def build_attrs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # Screen readers need a name for the empty field.
        return super().build_attrs(*args, **kwargs) | {"data-placeholder": "Choose one"}

    def is_a_row(self, text: str) -> bool:
        choices: Any = self.choices
        try:
            return bool(text) and choices.queryset.filter(pk=text).exists()
        except (ValueError, ValidationError):
            return False


class StrictJSONField(forms.JSONField):
    """Standard JSON that every database can store: no NaN, Infinity, NUL or broken characters."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            self.to_python(data)
        except ValidationError:
            return InvalidJSONInput(data)
        return super().bound_data(data, initial)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > MAX_JSON_LENGTH:
            raise ValidationError(
                f"This JSON is too long. Use at most {MAX_JSON_LENGTH:,} characters.", code="too_long"
            )
        try:
            # Raises ValidationError for invalid JSON.
            parsed = super().to_python(value)
        except (ValueError, RecursionError):
            # More digits or levels than Python can parse.
            raise ValidationError(
                "This JSON is nested too deeply, or has a number that is too long.", code="strict"
            ) from None
        reason = json_problem(parsed, MAX_JSON_LENGTH)
        if reason:
            raise ValidationError(f"This JSON {reason}", code="strict")
        return parsed
