"""What every app needs to know of a request, and the one way to answer a machine with an error."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse

# 203.0.113.7:40001 and [2001:db8::1]:443, as some proxies write them, and with a zone (fe80::1%eth0), which says nothing
# about the client.
ADDRESS = re.compile(
    r"([\d.]+)(?::\d{1,5})?|\[([^\]%]*:[^\]%]*)(?:%[^\]]+)?\](?::\d{1,5})?|([^%]*:[^%]*)(?:%.+)?", re.ASCII
)


def client_address(request: HttpRequest) -> str:
    """The client's address: the peer's own, or what the TRUSTED_PROXY_HOPS proxies in front of us saw.

    Each proxy appends the address it was called from to X-Forwarded-For, so only the last TRUSTED_PROXY_HOPS entries are
    ours; whatever stands before them, the client wrote. With fewer entries, or one that is no address, a proxy was passed
    by or is set up wrongly: then only the peer's address is certain.
    """
    peer = plain_address(request.META.get("REMOTE_ADDR") or "")
    hops = settings.TRUSTED_PROXY_HOPS
    entries = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if not 0 < hops <= len(entries):
        return peer
    return plain_address(entries[-hops]) or peer


@lru_cache(maxsize=4096)
def plain_address(text: str) -> str:
    """The IPv4 or IPv6 address in `text`, without port, brackets, quotes and zone; empty if there is none.

    An IPv4-mapped address is the IPv4 address: one client must not have two.
    """
    text = text.strip()
    match = ADDRESS.fullmatch(text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text)
    try:
        address = ipaddress.ip_address(match[1] or match[2] or match[3]) if match else None
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address or "")


def problem(status: int, title: str, detail: str = "", **members: Any) -> JsonResponse:
    """An error for a machine, as RFC 9457 describes: application/problem+json, `type` about:blank unless given."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail} | members
    return JsonResponse(body, status=status, content_type="application/problem+json")
