"""Client addresses as gateways write them, and the networks they may lie in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from config.base_http import valid_address

# host:port and [v6]:port, as some balancers write X-Forwarded-For; a zone (fe80::1%eth0) means nothing to us.
ADDRESS = re.compile(r"\[([^\]%]+)[^\]]*\](?::\d+)?|([\d.]+)(?::\d+)?|([^%]+)(?:%.*)?")


@lru_cache(maxsize=4096)
def within(address: str, networks: Sequence[str]) -> bool:
    """Whether `address` lies in one of `networks` (CIDR, v4 or v6); an IPv4-mapped address counts as IPv4.

    An entry that is no network matches nothing; neither does an address that is none.
    """
    plain = valid_address(address)
    if not plain:
        return False
    parsed = ipaddress.ip_address(plain)
    return any(parsed in network for network in map(as_network, networks) if network is not None)


@lru_cache(maxsize=1024)
def as_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def last_address(forwarded_for: str) -> str:
    """The entry of X-Forwarded-For that the gateway itself wrote: the last. What stands before it, a client may have."""
    return plain_address(forwarded_for.rpartition(",")[2])


@lru_cache(maxsize=4096)
def plain_address(text: str) -> str:
    """`text` as an address without port, brackets and zone; empty if it is none."""
    match = ADDRESS.fullmatch(text.strip())
    return valid_address(match[1] or match[2] or match[3]) if match else ""
