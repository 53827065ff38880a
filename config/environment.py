"""Where settings come from: the environment, with secrets in files of their own."""

from __future__ import annotations

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

YES_OR_NO = {*environ.Env.BOOLEAN_TRUE_STRINGS, "1", "", "0", "false", "off", "no", "n", "f"}
KINDS = {int: "a whole number", bool: "true or false"}


class SecretFiles(FileAwareMapping):  # type: ignore[misc]
    """The environment with NAME_FILE read as NAME, without the line end that editors and `echo` leave in such files."""

    def __getitem__(self, name: str) -> str:
        value: str = super().__getitem__(name)
        return value.rstrip("\r\n")


class Environment(environ.Env):  # type: ignore[misc]
    """django-environ, but a value that is none of its kind is told with its variable's name, and never guessed."""

    ENVIRON = SecretFiles()

    def get_value(
        self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False
    ) -> Any:
        try:
            return super().get_value(var, cast, default, parse_default)
        except ValueError:
            wanted = KINDS.get(cast, "something else")
            raise ImproperlyConfigured(f"{var} must be {wanted}, and is “{self.ENVIRON[var]}”.") from None

    @classmethod
    def parse_value(cls, value: Any, cast: Any) -> Any:
        # django-environ takes every word that it does not know for no: HTTPS_ONLY=treu would open the door.
        if cast is bool and isinstance(value, str) and value.strip().lower() not in YES_OR_NO:
            raise ValueError(value)
        return super().parse_value(value, cast)
