"""Read the JSON that services send, and say precisely what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from uuid import UUID

from config.base.http import plain_address
from config.base.json import why_unfit


class InvalidInput(ValueError):
    """What a service sent cannot be used; the message says where and why, and never repeats what was sent."""

    status = 400


class InputTooLarge(InvalidInput):
    status = 413


class NotJSON(InvalidInput):
    status = 415


class Invalid(ValueError):
    """A value breaks its field's rule, which the message states."""


Reader = Callable[[Any], Any]


def read_json(environ: Mapping[str, Any], longest: int) -> Any:
    """The body of a WSGI request, parsed. longest: its limit in bytes. Raises InvalidInput."""
    content_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise NotJSON("Send the body as application/json.")
    body = read_body(environ, longest)
    try:
        return json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        # From the body's text, which may hold a secret: the cause stays out of the answer and of the log.
        raise InvalidInput("The body is not valid JSON.") from None


def read_body(environ: Mapping[str, Any], longest: int) -> bytes:
    too_large = InputTooLarge(f"The body may have at most {longest:,} bytes.")
    length = environ.get("CONTENT_LENGTH")
    if not length and environ.get("wsgi.input_terminated"):
        # It may come in chunks, whose length nobody announced.
        body: bytes = environ["wsgi.input"].read(longest + 1)
        if len(body) > longest:
            raise too_large
        return body
    if not (length or "0").isdecimal() or int(length or 0) > longest:
        raise too_large
    return environ["wsgi.input"].read(int(length)) if length else b""


def refuse_constant(name: str) -> NoReturn:
    raise Invalid(name)


def read_fields(data: Any, readers: Mapping[str, Reader], *, where: str = "") -> dict[str, Any]:
    """The fields of a JSON object, each through its reader; null counts as absent. Raises InvalidInput.

    An unknown field is refused: a misspelt one would be a question that was never asked.
    """
    if not isinstance(data, dict):
        raise InvalidInput(f"{where or 'The body'} must be a JSON object.")
    unknown = data.keys() - readers.keys()
    if unknown:
        known = ", ".join(readers)
        raise InvalidInput(f"{where or 'The body'} has a field that is not known. Known are: {known}.")
    return {name: read_field(name, readers[name], value, where) for name, value in data.items() if value is not None}


def read_field(name: str, reader: Reader, value: Any, where: str) -> Any:
    try:
        return reader(value)
    except Invalid as error:
        place = f"{where}: {name}" if where else name
        raise InvalidInput(f"{place} {error}") from None


def text(longest: int) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise Invalid(f"must be a text of at most {longest:,} characters.")
        return value

    return read


def matching(pattern: str, description: str) -> Reader:
    compiled = re.compile(pattern)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Invalid(f"must be {description}.")
        return value

    return read


def whole_number(smallest: int, largest: int) -> Reader:
    def read(value: Any) -> int:
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if not isinstance(number, int) or isinstance(value, bool) or not smallest <= number <= largest:
            raise Invalid(f"must be a whole number from {smallest:,} to {largest:,}.")
        return number

    return read


def address(value: Any) -> str:
    plain = plain_address(value) if isinstance(value, str) else ""
    if not plain:
        raise Invalid("must be an IPv4 or IPv6 address.")
    return plain


def uuid(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise Invalid("must be a UUID.") from None


def json_object(longest: int) -> Reader:
    """A JSON object that can be stored and shown; longest: its limit in characters, as text."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Invalid("must be a JSON object.")
        reason = why_unfit(value, longest)
        if reason:
            raise Invalid(reason)
        return value

    return read
