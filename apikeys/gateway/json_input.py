"""Read and validate the JSON that services send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from uuid import UUID

from config.base.hosts import normal_host
from config.base.http import plain_address
from config.base.json import json_problem


class InvalidInput(ValueError):
    """The message says what is wrong and where. It never repeats the input, which may contain a secret."""

    status = 400
    # A problem without its own type must have the title of its status (RFC 9457, section 4.2.1).
    title = "Bad request"


class BodyTooLarge(InvalidInput):
    status = 413
    title = "Content too large"


class NotJSON(InvalidInput):
    status = 415
    title = "Unsupported media type"


class InvalidValue(ValueError):
    """The message is the rule that the value breaks: “must be …”."""


Reader = Callable[[Any], Any]


def read_json(environ: Mapping[str, Any], max_bytes: int) -> Any:
    """The parsed body of a WSGI request. Raises InvalidInput."""
    content_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise NotJSON("Send a JSON body with Content-Type: application/json.")
    body = read_body(environ, max_bytes)
    try:
        return json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        # The error quotes the body, which may contain a secret: keep it out of the response and the log.
        raise InvalidInput("The body is not valid JSON.") from None


def read_body(environ: Mapping[str, Any], max_bytes: int) -> bytes:
    too_large = BodyTooLarge(f"The body must not be larger than {max_bytes:,} bytes.")
    length = environ.get("CONTENT_LENGTH")
    if not length and environ.get("wsgi.input_terminated"):
        # Chunked, so its length isn't known in advance.
        body: bytes = environ["wsgi.input"].read(max_bytes + 1)
        if len(body) > max_bytes:
            raise too_large
        return body
    if not (length or "0").isdecimal() or int(length or 0) > max_bytes:
        raise too_large
    return environ["wsgi.input"].read(int(length)) if length else b""


def refuse_constant(name: str) -> NoReturn:
    raise InvalidValue(name)


def read_fields(data: Any, readers: Mapping[str, Reader], *, where: str = "") -> dict[str, Any]:
    """The validated fields of a JSON object. Null counts as absent. Raises InvalidInput.

    Unknown fields are errors, so that a misspelled one isn't ignored.
    """
    if not isinstance(data, dict):
        raise InvalidInput(f"{where or 'The body'} must be a JSON object.")
    unknown = data.keys() - readers.keys()
    if unknown:
        raise InvalidInput(f"{where or 'The body'} has an unknown field. Known fields: {', '.join(readers)}.")
    return {name: read_field(name, readers[name], value, where) for name, value in data.items() if value is not None}


def read_field(name: str, reader: Reader, value: Any, where: str) -> Any:
    try:
        return reader(value)
    except InvalidValue as error:
        place = f"{where}: {name}" if where else name
        raise InvalidInput(f"{place} {error}") from None


def text(max_length: int) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or len(value) > max_length:
            raise InvalidValue(f"must be a string of at most {max_length:,} characters.")
        return value

    return read


def matching(pattern: str, description: str) -> Reader:
    compiled = re.compile(pattern)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise InvalidValue(f"must be {description}.")
        return value

    return read


def whole_number(smallest: int, largest: int) -> Reader:
    def read(value: Any) -> int:
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if not isinstance(number, int) or isinstance(value, bool) or not smallest <= number <= largest:
            raise InvalidValue(f"must be a whole number from {smallest:,} to {largest:,}.")
        return number

    return read


def address(value: Any) -> str:
    plain = plain_address(value) if isinstance(value, str) else ""
    if not plain:
        raise InvalidValue("must be an IPv4 or IPv6 address.")
    return plain


def host(value: Any) -> str:
    normal = normal_host(value) if isinstance(value, str) else ""
    if not normal:
        raise InvalidValue("must be a host, such as api.example.com.")
    return normal


def uuid(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise InvalidValue("must be a UUID.") from None


def json_object(max_length: int) -> Reader:

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise InvalidValue("must be a JSON object.")
        reason = json_problem(value, max_length)
        if reason:
            raise InvalidValue(reason)
        return value

    return read
