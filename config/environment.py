"""Settings come from the environment, a .env file, and files with one secret each.

Values are literal: `$`, `#`, `%` and backslashes have no special meaning. docs/deployment.md has the rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

from config.base.numbers import whole_number

YES_OR_NO = {*environ.Env.BOOLEAN_TRUE_STRINGS, "1", "", "0", "false", "off", "no", "n", "f"}
KINDS = {int: "a whole number", bool: "true or false"}
ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*([^\0]*)", re.ASCII)


class SecretFiles(FileAwareMapping):  # type: ignore[misc]
    """The environment, with NAME read from the file NAME_FILE without its final line break."""

    def __getitem__(self, name: str) -> str:
        path = self.env.get(f"{name}_FILE")
        return str(self.env[name]) if path is None else read_text(f"{name}_FILE", path).rstrip("\r\n")


class Environment(environ.Env):  # type: ignore[misc]
    """django-environ with literal values, and errors that name the variable."""

    ENVIRON = SecretFiles()

    @classmethod
    def read_env(cls, path: str | Path) -> None:
        for name, value in parse_env(read_text("ENV_FILE", path), path).items():
            os.environ.setdefault(name, value)

    def get_value(
        self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False
    ) -> Any:
        # django-environ's own would treat a value that starts with $ as the name of another variable.
        text = self.ENVIRON.get(var)
        if text is None:
            return default
        try:
            return self.parse_value(text, cast)
        except ValueError:
            wanted = KINDS.get(cast, "something else")
            raise ImproperlyConfigured(f"{var} must be {wanted}, but is “{text}”.") from None

    @classmethod
    def parse_value(cls, value: Any, cast: Any) -> Any:
        if cast is list:
            return [item.strip() for item in value.split(",") if item.strip()]
        # django-environ treats unknown words as false, so HTTPS_ONLY=treu would disable it.
        if cast is bool and value.strip().lower() not in YES_OR_NO:
            raise ValueError(value)
        return super().parse_value(value, cast)

    def filled(self, name: str, cast: Any = str, default: Any = "") -> Any:
        """The value of a security setting, which must not be empty if it is set."""
        text = self.ENVIRON.get(name)
        parts = [] if text is None else text.split(",") if cast is list else [text]
        if not all(part.strip() for part in parts):
            empty = "has an empty entry" if len(parts) > 1 else "is set but empty"
            raise ImproperlyConfigured(f"{name} {empty}. Set a value, or remove it.")
        return self.get_value(name, cast, default)

    def number(self, name: str, default: int, *, smallest: int, largest: int) -> int:
        try:
            return whole_number(name, self.int(name, default=default), smallest, largest)
        except ValueError as error:
            raise ImproperlyConfigured(str(error)) from None

    def one_of(self, name: str, choices: Collection[str], default: str) -> str:
        """One of `choices`, which are in upper case. The setting can be in any case."""
        text = str(self.get_value(name, str, default))
        if text.strip().upper() not in choices:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, but is “{text}”.")
        return text.strip().upper()

    def address(self, name: str, schemes: Collection[str], default: str = "") -> str:
        """A URL with one of `schemes`. Encodes every `#`: these URLs have no fragments, but passwords may contain a `#`."""
        url = str(self.get_value(name, str, default)).replace("#", "%23")
        if (url or default) and not is_address(url, schemes):
            starts = ", ".join(f"{scheme}://" for scheme in sorted(schemes))
            raise ImproperlyConfigured(
                f"{name} isn't a valid URL. It must start with one of {starts}. Percent-encode characters such as / ? : @ "
                f"or % in the password, for example %2F for /."
            )
        return url


def read_text(name: str, path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "It isn't UTF-8 text"
        raise ImproperlyConfigured(
            f"{name} is “{path}”, which can't be read: {reason}. Set it to the path of a text file, or remove it."
        ) from None


def parse_env(text: str, path: str | Path) -> dict[str, str]:
    """Parse lines NAME=value; the last one counts. Removes quotes around a whole value."""
    values = {}
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        found = ASSIGNMENT.fullmatch(line)
        if not found:
            raise ImproperlyConfigured(f"{path}, line {number}: use NAME=value, or start a comment with #.")
        name, value = found.groups()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        values[name] = value[1:-1] if quoted else value
    return values


def is_address(url: str, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(url)
        # A file has no host, and a list of hosts (postgres://a:5432,b:5432/name) no single port.
        if parts.scheme == "sqlite" or "," in parts.netloc:
            return parts.scheme in schemes
        _ = parts.port
    except ValueError:
        return False
    # With a slash in the password, the @ ends up in the path.
    return parts.scheme in schemes and "@" not in parts.path


def reject_path_prefix(env: Environment) -> None:
    """Links, cookies (__Host- requires the path /) and /authz/ need the root of a host name."""
    for name in ("SCRIPT_NAME", "FORCE_SCRIPT_NAME"):
        if env.str(name, default=""):
            raise ImproperlyConfigured(
                f"{name} is set, but Gatehouse can't be served under a path. Remove {name} and use a separate host name "
                "for Gatehouse, for example gatehouse.example.com."
            )
