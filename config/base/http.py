"""Client addresses, URLs to return to, and problem details for machines."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.utils.http import url_has_allowed_host_and_scheme

# Also matches 203.0.113.7:40001 and [2001:db8::1]:443, as some proxies write them, and zones (fe80::1%eth0).
ADDRESS = re.compile(
    r"([\d.]+)(?::\d{1,5})?|\[([^\]%]*:[^\]%]*)(?:%[^\]]+)?\](?::\d{1,5})?|([^%]*:[^%]*)(?:%.+)?", re.ASCII
)


def local_url(request: HttpRequest, url: str, otherwise: str) -> str:
    """`url` if it's on this site."""
    is_local = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
    return url if is_local else otherwise


def client_address(request: HttpRequest) -> str:
    """The client's address: the peer's, or the one that TRUSTED_PROXY_HOPS proxies report.

    Each proxy appends the address of its client to X-Forwarded-For, so only the last TRUSTED_PROXY_HOPS entries can be
    trusted. With fewer entries, or an invalid one, the request bypassed a proxy or a proxy is misconfigured: then only the
    peer's address is certain.
    """
    peer = plain_address(request.META.get("REMOTE_ADDR") or "")
    hops = settings.TRUSTED_PROXY_HOPS
    entries = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if not 0 < hops <= len(entries):
        return peer
    return plain_address(entries[-hops]) or peer


@lru_cache(maxsize=4096)
def plain_address(text: str) -> str:
    """The IP address in `text`, without port, brackets, quotes and zone; empty if there is none. IPv4-mapped IPv6 addresses
    become IPv4, so that a client has only one.
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
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail} | members
    return JsonResponse(body, status=status, content_type="application/problem+json")
