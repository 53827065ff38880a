from __future__ import annotations

from typing import Any

from django.db import models

from config.base.mail import validate_mailable
from config.base.text import normal_form


def normalize_email(address: str) -> str:
    """The form that's stored and compared: NFKC, case-folded, and without spaces around it."""
    return normal_form(address).strip()


def normalize_login(login: str) -> str:
    return normalize_email(login)


class NormalizedEmailField(models.EmailField):  # type: ignore[type-arg]
    """A deliverable email address, normalized when it is stored and in exact lookups.

    This is done in Python, because SQLite's LOWER only handles ASCII, and `iexact` doesn't use an index on Lower().
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
