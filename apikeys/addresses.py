"""The client's address in what a gateway says, and the networks it may lie in."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from config.base.http import plain_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4096)
def within(address: str, networks: Sequence[str]) -> bool:
    """Whether `address` lies in one of `networks` (CIDR, v4 or v6); an IPv4-mapped address counts as IPv4.

    An entry that is no network matches nothing; neither does an address that is none.
    """
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
    if mapped is None or network.prefixlen < 96:  # noqa: PLR2004  (::ffff:0:0/96 holds all of IPv4)
        return network
    return ipaddress.ip_network((int(mapped), network.prefixlen - 96))


def last_address(forwarded_for: str) -> str:
    """The entry of X-Forwarded-For that the gateway itself wrote: the last. What stands before it, a client may have."""
    return plain_address(forwarded_for.rpartition(",")[2])
