"""Logs without secrets: whatever is written, by us, by Django or by gunicorn, passes through here as its last step."""

from __future__ import annotations

import logging
import re
from typing import Any

# The form of an API key's secret (apikeys/secrets.py), whatever its prefix: 49 base62 characters after an underscore. Any of
# them may be percent-encoded, however often.
ENCODED = r"%(?:25)*"
LETTER = rf"(?:[0-9A-Za-z]|{ENCODED}[3-7][0-9A-Fa-f])"
SECRET = re.compile(rf"(_|{ENCODED}5[Ff])({LETTER}{{6}}){LETTER}{{43}}")


def without_secrets(text: str) -> str:
    """`text` with every secret cut down to what people know a key by: its prefix and six characters."""
    return SECRET.sub(r"\1\2…", text)


# What ends a line, moves the cursor or turns the direction of writing: control characters, the separators of lines and
# paragraphs, and bidirectional marks.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """`text` as it can stand in one line of a log: what a request holds must not make lines that look like ours."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class SafeFormatter(logging.Formatter):
    """Clients put secrets into addresses, and line ends into anything; both get into logs."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (as logging has it)
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (as logging has it)
        return indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  (as logging has it)
        return indented(super().formatStack(stack_info))


def indented(text: str) -> str:
    """Several lines of a traceback, none of which can pass for a line of its own: an error may quote what a request held."""
    return "\n".join(f"    {one_line(line)}" for line in text.split("\n"))
