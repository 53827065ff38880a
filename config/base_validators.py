"""Rules for text that every model shares."""

from __future__ import annotations

from django.core.exceptions import ValidationError


def validate_encodable(value: str) -> None:
    """Refuse lone surrogates, which no database and no page can hold, and NUL, which PostgreSQL cannot store.

    Form fields refuse NUL by themselves; commands and other code have only the model's rules.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError("This text has a broken character. Type it anew.", code="broken_unicode") from None
    if "\0" in value:
        raise ValidationError("This text has a NUL character. Type it anew.", code="null_characters_not_allowed")
