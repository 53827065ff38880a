"""Logs without secrets: whatever is written, by us, by Django or by gunicorn, passes through here as its last step."""

from __future__ import annotations

import logging
import re

# The form of an API key's secret (apikeys/secrets.py), whatever its prefix: 49 base62 characters after an underscore.
SECRET = re.compile(r"(_|%5[Ff])([0-9A-Za-z]{6})[0-9A-Za-z]{43}")


def without_secrets(text: str) -> str:
    """`text` with every secret cut down to what people know a key by: its prefix and six characters."""
    return SECRET.sub(r"\1\2…", text)


def one_line(text: str) -> str:
    """`text` as it can stand in a line of a log: a decoded path may hold line ends, and so whole lines that are not ours."""
    return text.encode("unicode_escape").decode("ascii")


class SecretFreeFormatter(logging.Formatter):
    """Clients put secrets into addresses, and addresses get into logs."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))
