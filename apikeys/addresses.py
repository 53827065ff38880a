"""IP addresses and networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from config.base.http import plain_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4096)
def within(address: str, networks: Sequence[str]) -> bool:
    """Whether `address` is in one of `networks`. IPv4-mapped addresses count as IPv4; invalid entries match nothing."""
    plain = plain_address(address)
    if not plain:
        return False
    parsed = ipaddress.ip_address(plain)
    return any(parsed in network for network in map(as_network, networks) if network is not None)


@lru_cache(maxsize=1024)
def as_network(text: str) -> Network | None:
    try:
        return unmapped(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        return None


def unmapped(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is None or network.prefixlen < 96:  # noqa: PLR2004  (::ffff:0:0/96 is all of IPv4)
        return network
    return ipaddress.ip_network((int(mapped), network.prefixlen - 96))


def last_address(forwarded_for: str) -> str:
    """The last entry of X-Forwarded-For: the gateway wrote it, while a client may have written those before it."""
    return plain_address(forwarded_for.rpartition(",")[2])
