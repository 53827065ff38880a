"""A period of time: stored in seconds, entered as a number and a unit, shown in words."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from config.base.text import DAY, HOUR, MINUTE

UNITS = ((1, "seconds"), (MINUTE, "minutes"), (HOUR, "hours"), (DAY, "days"))
MAX_PERIOD = 31 * DAY
IN_RANGE = "Enter a period from 1 second to 31 days (2,678,400 seconds)."
VALIDATORS: list[Any] = [MinValueValidator(1, IN_RANGE), MaxValueValidator(MAX_PERIOD, IN_RANGE)]


class PeriodWidget(forms.MultiWidget):
    """The number has the name of the field. Scripts may leave the unit out and send seconds."""

    template_name = "base/period.html"
    # The label names the number, and the unit has one of its own.
    use_fieldset = False

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        number = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"})
        super().__init__({"": number, "unit": forms.Select(choices=UNITS)}, attrs)

    def decompress(self, value: Any) -> list[Any]:
        """In the largest unit that leaves a whole number."""
        if not value:
            return ["", MINUTE]
        size = max(size for size, _ in UNITS if value % size == 0)
        return [value // size, size]

    def id_for_label(self, id_: str) -> str:
        return f"{id_}_0" if id_ else ""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        unit = context["widget"]["subwidgets"][1]["attrs"]
        unit["aria-label"] = f"{unit.get('aria-label', 'Period')}, unit"
        return context


class PeriodFormField(forms.IntegerField):
    widget = PeriodWidget
    default_validators = VALIDATORS

    def __init__(self, **options: Any) -> None:
        # The model field would set others.
        super().__init__(**options | {"min_value": None, "max_value": None})

    def to_python(self, value: Any) -> int | None:
        number, unit = value if isinstance(value, list) else (value, None)
        found: int | None = super().to_python(number)
        sizes = {str(size): size for size, _ in UNITS}
        if unit and unit not in sizes:
            raise ValidationError("Choose seconds, minutes, hours or days.", code="invalid_unit")
        return None if found is None else found * sizes.get(unit or "", 1)


class PeriodField(models.PositiveIntegerField):  # type: ignore[type-arg]
    default_validators = VALIDATORS

    def deconstruct(self) -> Any:
        # To migrations it's an integer: SQLite would write the table anew, without its triggers.
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.PositiveIntegerField", args, options

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": PeriodFormField, **options})
