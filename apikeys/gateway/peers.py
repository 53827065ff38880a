"""Who may ask: gateways on trusted addresses, with the shared secret when one is set."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from apikeys.addresses import within

# In GATEWAY_TRUSTED and METRICS_TRUSTED, as nginx writes it: whoever may open the unix socket that Gatehouse listens on. Such a peer has no
# address; the socket's permissions decide who it can be.
UNIX_SOCKET = "unix:"


def may_ask(environ: Mapping[str, Any]) -> bool:
    """Whether the peer itself is a trusted gateway, regardless of forwarding headers."""
    return is_among(environ.get("REMOTE_ADDR") or "", settings.GATEWAY_TRUSTED) and knows_secret(environ)


def is_among(peer: str, trusted: Sequence[str]) -> bool:
    """Whether a peer is in one of the networks. peer: its address; empty on a unix socket."""
    return within(peer, tuple(trusted)) if peer else UNIX_SOCKET in trusted


def knows_secret(environ: Mapping[str, Any]) -> bool:
    if not settings.GATEWAY_SECRET:
        return True
    given = environ.get("HTTP_X_GATEWAY_SECRET", "")
    return hmac.compare_digest(given.encode(errors="replace"), settings.GATEWAY_SECRET.encode())
