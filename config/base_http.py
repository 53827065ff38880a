"""What every app needs to know of a request, and the one way to answer a machine with an error."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse


def client_address(request: HttpRequest) -> str:
    """The client's address: the peer's own, or what the TRUSTED_PROXY_HOPS proxies in front of us saw.

    Each proxy appends the address it was called from to X-Forwarded-For, so only the last TRUSTED_PROXY_HOPS entries are
    ours; whatever stands before them, the client wrote. With fewer entries, or one that is no address, a proxy was passed
    by or is set up wrongly: then only the peer's address is certain.
    """
    peer = str(request.META.get("REMOTE_ADDR") or "")
    hops = settings.TRUSTED_PROXY_HOPS
    entries = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if not 0 < hops <= len(entries):
        return peer
    return valid_address(entries[-hops].strip()) or peer


def valid_address(text: str) -> str:
    """`text` as a plain IPv4 or IPv6 address, an IPv4-mapped one as IPv4; empty if it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def problem(status: int, title: str, detail: str = "", **members: Any) -> JsonResponse:
    """An error for a machine, as RFC 9457 describes: application/problem+json, `type` about:blank unless given."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail} | members
    return JsonResponse(body, status=status, content_type="application/problem+json")
