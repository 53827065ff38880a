"""What management commands have in common."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from config.base.text import quoted
from config.base.validators import is_encodable


def read_file(name: str, max_size: int) -> bytes:
    """name: of a file; - for standard input."""
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
            content = file.read(max_size + 1)
    except OSError as error:
        raise CommandError(f"Couldn't read {name}: {error.strerror}.") from None
    if len(content) > max_size:
        raise CommandError(f"{name} is too large. A file can have up to {max_size // 2**20} MB.")
    return content


def find_user(username: str) -> Any:
    """The live user with this username, in upper or lower case."""
    users: Any = get_user_model()._default_manager
    try:
        return users.get_by_natural_key(username if is_encodable(username) else "")
    except users.model.DoesNotExist:
        raise CommandError(
            f"There is no user with the username {quoted(username)}. If they were deleted, restore them first."
        ) from None
