"""What management commands have in common."""

from __future__ import annotations

import sys
from pathlib import Path

from django.core.management.base import CommandError


def read_file(name: str) -> bytes:
    """name: of a file; - for standard input."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"Couldn't read {name}: {error.strerror}.") from None
