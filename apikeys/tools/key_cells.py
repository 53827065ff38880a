"""Read the CSV file of `import_keys`: its lines, and what their cells mean."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError

from apikeys.fields import SEPARATORS, ExpiryField
from config.base.access import Permission
from config.base.http import plain_address
from config.base.text import NotInEncoding, decode

REQUIRED = ("username", "name", "algorithm", "hash")
# The names that the columns have in the FastAPI starter and in djangorestframework-api-key.
OTHER_NAMES = {
    "key_hash": "hash",
    "hashed_key": "hash",
    "key_prefix": "prefix",
    "key_metadata": "metadata",
    "expiry_date": "expires_at",
    "created": "created_at",
}
IGNORED = frozenset({"id", "user_id", "api_key_id", "updated_at"})
TRUE = frozenset({"true", "t", "yes", "y", "1"})
FALSE = frozenset({"false", "f", "no", "n", "0"})
# How SQL clients write NULL.
NULLS = frozenset({"", r"\N"})
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
PER_PERIOD = re.compile(r"requests_per_(second|minute|hour|day)")
MAX_NUMBER = 2**31 - 1


class FileError(Exception):
    """The file can't be read at all."""


class Line(NamedTuple):
    """number: in the file, where it starts. cells: by column, stripped, without those that have no value."""

    number: int
    cells: dict[str, str]


class LineProblem(NamedTuple):
    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"Line {self.line}{f', {self.column}' if self.column else ''}: {self.message}"


class KeyLines:
    """The lines of a file, one by one. Those with too many or too few cells are among the `problems`."""

    def __init__(self, content: bytes, readers: dict[str, Reader]) -> None:
        self.problems: list[LineProblem] = []
        self._rows = csv.reader(io.StringIO(text_of(content), newline=""), strict=True)
        self._readers = readers
        _, header = next(self._numbered(), (0, []))
        self.columns = columns_of(header, {*REQUIRED, *readers})

    def __iter__(self) -> Iterator[Line]:
        for number, row in self._numbered():
            if len(row) == len(self.columns):
                cells = zip(self.columns, map(str.strip, row), strict=True)
                yield Line(number, {name: text for name, text in cells if text not in NULLS})
            else:
                message = f"The header has {len(self.columns)} columns, and this line has {len(row)} cells."
                self.problems.append(LineProblem(number, "", message))

    def _numbered(self) -> Iterator[tuple[int, list[str]]]:
        start = self._rows.line_num + 1
        try:
            for row in self._rows:
                if row:
                    yield start, row
                start = self._rows.line_num + 1
        except csv.Error as error:
            raise FileError(f"Line {start}: this isn't valid CSV ({error}).") from None


def text_of(content: bytes) -> str:
    try:
        text = decode(content)
    except NotInEncoding as error:
        raise FileError(f"Line {error.line}: the file isn't in UTF-8. Save it as CSV in UTF-8.") from None
    if "\0" in text:
        raise FileError(f"Line {text.count(chr(10), 0, text.index(chr(0))) + 1}: remove the NUL character.")
    return text


def columns_of(header: list[str], known: set[str]) -> list[str]:
    names = [OTHER_NAMES.get(name, name) for name in (title.strip().lower() for title in header)]
    if not names:
        raise FileError("The file is empty. Its first line must name the columns.")
    if len(names) == 1 and ";" in names[0]:
        raise FileError("Line 1: separate the columns with commas, not semicolons.")
    for name in names:
        if name not in known | IGNORED:
            raise FileError(f"Line 1: “{name[:40]}” isn't a column. The columns are {', '.join(sorted(known))}.")
        if names.count(name) > 1:
            raise FileError(f"Line 1: there are two columns named {name}.")
    if missing := [name for name in REQUIRED if name not in names]:
        raise FileError(f"Line 1: the column {missing[0]} is missing.")
    return names


# --- Cells -------------------------------------------------------------------------------------------------------------

# Each reads a cell that has a value. Raises ValidationError.
Reader = Callable[[str], Any]


def read_bool(text: str) -> bool:
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise ValidationError("Enter true or false.")


def read_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:20]) <= MAX_NUMBER:
        raise ValidationError(f"Enter a whole number from 1 to {MAX_NUMBER:,}.")
    return int(text)


def read_time(text: str) -> datetime:
    time: datetime = ExpiryField().to_python(text)
    return time


def read_address(text: str) -> str:
    address = plain_address(text)
    if not address:
        raise ValidationError("Enter a valid IPv4 or IPv6 address.")
    return address


def read_networks(text: str) -> list[str]:
    return [entry for entry in SEPARATORS.split(text) if entry]


def read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError('Enter JSON, for example {"team": "billing"}.') from None


def read_list(text: str) -> list[str]:
    """Names separated by semicolons, commas or line breaks, or a JSON list."""
    given = read_json(text) if text.startswith("[") else re.split(r"[;,\n]", text)
    return [str(name).strip() for name in given if str(name).strip()]


def read_permissions(text: str) -> list[Permission]:
    """“read /orders/*; create /orders”, or as the starter has it: ["user.read"] or {"user": ["read", "list"]}."""
    if not text.startswith(("[", "{")) and text != "null":
        return [Permission.parse(part) for part in re.split(r"[;\n]", text) if part.strip()]
    given = read_json(text) or []
    if isinstance(given, dict):
        return [Permission(str(action), resource) for resource, actions in given.items() for action in as_list(actions)]
    return [Permission.parse(str(part)) if " " in str(part) else read_dotted(str(part)) for part in given]


def read_dotted(name: str) -> Permission:
    resource, period, action = name.rpartition(".")
    if not period:
        raise ValidationError(f"“{name}” isn't a permission, for example user.read.")
    return Permission(action, resource)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_usage_limits(text: str) -> tuple[int, int] | None:
    """The starter's free-form JSON: one number of requests per second, minute, hour or day, or nothing."""
    given = read_json(text)
    if not given:
        return None
    if isinstance(given, dict) and len(given) == 1:
        ((name, limit),) = given.items()
        found = PER_PERIOD.fullmatch(name)
        if found and type(limit) is int and 1 <= limit <= MAX_NUMBER:
            return limit, PERIODS[found[1]]
    raise ValidationError(
        'Only one limit such as {"requests_per_minute": 60} can be imported. Empty this cell, and use rate_limit and '
        "rate_period."
    )


READERS: dict[str, Reader] = {
    "prefix": str,
    "expires_at": read_time,
    "created_at": read_time,
    "last_used_at": read_time,
    "last_used_ip": read_address,
    "is_active": read_bool,
    "revoked": read_bool,
    "rate_limit": read_number,
    "rate_period": read_number,
    "rate_window": str.lower,
    "usage_limits": read_usage_limits,
    "allowed_ips": read_networks,
    "metadata": read_json,
    "permissions": read_permissions,
    "host": str,
    "resource": str,
    "action": str,
    "is_allowed": read_bool,
    "conditions": read_json,
    "roles": read_list,
}
