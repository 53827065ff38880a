from __future__ import annotations

import zoneinfo
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from config.base.validators import validate_encodable

MAX_PASSWORD_LENGTH = 128

validate_username = RegexValidator(
    r"^[a-z0-9_]+\Z", "Use only lowercase letters a to z, digits and underscores.", code="invalid_username"
)


def validate_time_zone(value: str) -> None:
    if value not in zoneinfo.available_timezones():
        raise ValidationError("Choose a time zone, for example Europe/Berlin.", code="invalid_time_zone")


class MaximumLengthValidator:
    """A password validator: hashing time grows with the length."""

    def __init__(self, max_length: int = MAX_PASSWORD_LENGTH) -> None:
        self.max_length = max_length

    def validate(self, password: str, user: Any = None) -> None:
        validate_encodable(password)
        if len(password) > self.max_length:
            raise ValidationError(
                f"This password is too long. Use at most {self.max_length} characters.", code="password_too_long"
            )

    def get_help_text(self) -> str:
        return f"Your password can have at most {self.max_length} characters."
