"""Who may change whose account."""

from __future__ import annotations

from typing import Any

from accounts.models import User


def may_change(actor: Any, target: User) -> bool:
    return bool(actor.is_superuser or not target.is_privileged)
