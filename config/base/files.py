from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def create_private(path: Path) -> None:
    """Create a file that only its owner can read, unless it exists: SQLite would create one that everyone can."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite reports better why it can't create a file.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
