"""Who may ask: gateways on trusted addresses, with the shared secret when one is set."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from apikeys.addresses import within


def may_ask(environ: Mapping[str, Any]) -> bool:
    """Whether the peer itself, not whom it claims to speak for, is a gateway of ours."""
    peer = environ.get("REMOTE_ADDR") or ""
    return within(peer, tuple(settings.GATEWAY_TRUSTED)) and knows_secret(environ)


def knows_secret(environ: Mapping[str, Any]) -> bool:
    if not settings.GATEWAY_SECRET:
        return True
    given = environ.get("HTTP_X_GATEWAY_SECRET", "")
    return hmac.compare_digest(given.encode(errors="replace"), settings.GATEWAY_SECRET.encode())
