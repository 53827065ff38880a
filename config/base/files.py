"""Files that only the user who runs Gatehouse may read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def create_private(path: Path) -> None:
    """Create an empty file for SQLite, which would let everybody on the machine read it; one that exists stays as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What keeps the file from being created, SQLite reports better.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
