"""Who may ask: gateways on trusted addresses, with the shared secret when one is set."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from apikeys.addresses import within

# In GATEWAY_TRUSTED, as nginx writes it: whoever may open the unix socket that Gatehouse listens on. Such a peer has no
# address; the socket's permissions decide who it can be.
UNIX_SOCKET = "unix:"


def may_ask(environ: Mapping[str, Any]) -> bool:
    """Whether the peer itself, not whom it claims to speak for, is a gateway of ours."""
    peer, trusted = environ.get("REMOTE_ADDR") or "", tuple(settings.GATEWAY_TRUSTED)
    return (within(peer, trusted) if peer else UNIX_SOCKET in trusted) and knows_secret(environ)


def knows_secret(environ: Mapping[str, Any]) -> bool:
    if not settings.GATEWAY_SECRET:
        return True
    given = environ.get("HTTP_X_GATEWAY_SECRET", "")
    return hmac.compare_digest(given.encode(errors="replace"), settings.GATEWAY_SECRET.encode())
