"""The model field that keeps e-mail addresses in one form."""

from __future__ import annotations

from typing import Any

from django.db import models

from config.base.mail import validate_mailable
from config.base.text import normal_form


def normalize_email(address: str) -> str:
    """The form in which an address is stored and looked up: NFKC, case folded, no space around it."""
    return normal_form(address).strip()


def fold_sign_in_name(typed: str) -> str:
    """The username or email address that `typed` means, in any letter case."""
    return normalize_email(typed)


class NormalizedEmailField(models.EmailField):  # type: ignore[type-arg]
    """An e-mail address that mail can be sent to, normalised in Python on the way in and in every exact look-up.

    SQLite's LOWER knows ASCII only and `iexact` misses an index on Lower(), so the normal form is what is stored.
    """

    default_validators = [validate_mailable]
    normal_form = staticmethod(normalize_email)

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return normalize_email(value) if isinstance(value, str) else value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))
