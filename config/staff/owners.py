"""Names and pages of those whose requests the limiter counts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from accounts.models import User
from apikeys.models import APIKey
from ratelimits.pages.views import Owner

# As accounts/signin/throttle.py names them.
THROTTLED = {
    "sign-in": "Sign-in",
    "sign-in-address": "Sign-in",
    "code": "Sign-in codes",
    "code-used": "Sign-in codes",
    "password-change": "Password changes",
    "sign-up": "Sign-up",
    "reset": "Password resets",
    "mail": "Emails to one address",
}
USER = re.compile(r"(?:account:)?([0-9]{1,18})(?![^:])")
KEY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Parts(NamedTuple):
    """What stands for an owner in counters: `user:7`, `key:<id>`, `addr:192.0.2.1`, `sign-in:account:7:addr:192.0.2.1`."""

    kind: str
    user: int | None = None
    key: UUID | None = None
    address: str = ""

    @classmethod
    def of(cls, text: str) -> Parts:
        kind, _, rest = text.partition(":")
        if kind == "key":
            return cls(kind, key=UUID(rest) if KEY.fullmatch(rest) else None)
        if kind == "addr":
            return cls(kind, address=rest)
        user = USER.match(rest)
        return cls(kind, int(user[1]) if user else None, address=rest.partition("addr:")[2])


def owners_of(texts: Iterable[str]) -> dict[str, Owner]:
    parts = {text: Parts.of(text) for text in texts}
    users = User.objects.in_bulk({part.user for part in parts.values() if part.user is not None})
    keys = APIKey.objects.select_related("user").in_bulk({part.key for part in parts.values() if part.key is not None})
    return {text: owner_of(text, part, users.get(part.user), keys.get(part.key)) for text, part in parts.items()}


def owner_of(text: str, part: Parts, user: Any, key: Any) -> Owner:
    notes = [THROTTLED.get(part.kind, ""), f"from {part.address}" if part.address and user is not None else ""]
    note = " ".join(filter(None, notes))
    if key is not None:
        return Owner(key.name, key.get_absolute_url(), f"API key of {key.user}")
    if user is not None:
        return Owner(str(user), user.get_absolute_url(), note)
    return Owner(part.address or text, note=note)
