"""Who may ask: gateways on trusted addresses, with the shared secret when one is set."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import HttpRequest

from apikeys.addresses import within


def may_ask(request: HttpRequest) -> bool:
    """Whether the peer itself, not whom it claims to speak for, is a gateway of ours."""
    peer = request.META.get("REMOTE_ADDR") or ""
    return within(peer, tuple(settings.GATEWAY_TRUSTED)) and knows_secret(request)


def knows_secret(request: HttpRequest) -> bool:
    if not settings.GATEWAY_SECRET:
        return True
    given = request.META.get("HTTP_X_GATEWAY_SECRET", "")
    return hmac.compare_digest(given.encode(errors="replace"), settings.GATEWAY_SECRET.encode())
