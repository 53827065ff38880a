"""The formatter for all logs, ours, Django's and gunicorn's: it removes secrets and keeps each entry on one line."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from typing import Any

# The format of an API key's secret with any prefix: an underscore and 49 base62 characters, each of which may be
# percent-encoded any number of times.
ENCODED = r"%(?:25)*"
LETTER = rf"(?:[0-9A-Za-z]|{ENCODED}[3-7][0-9A-Fa-f])"
SECRET = re.compile(rf"(_|{ENCODED}5[Ff])({LETTER}{{6}}){LETTER}{{43}}")


def without_secrets(text: str) -> str:
    return SECRET.sub(r"\1\2…", text)


# Control characters, line and paragraph separators, and bidirectional marks.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Escape line breaks and the like, so that a request can't forge log entries."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (as logging has it)
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (as logging has it)
        return indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  (as logging has it)
        return indented(super().formatStack(stack_info))


class JSONFormatter(logging.Formatter):
    """One JSON object per line. Non-ASCII and control characters are escaped, so that a request can't forge entries."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = logging.Formatter().formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        return without_secrets(json.dumps(entry))


def indented(text: str) -> str:
    """Indent the lines of a traceback, so that none looks like an entry: it may quote a request."""
    return "\n".join(f"    {one_line(line)}" for line in text.split("\n"))
