"""Several virtual machines: each node has a network namespace with its own address, on one bridge.

Only root can create namespaces, and not in every container. Otherwise, nodes have different loopback addresses.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.apikeys.gateway.servers import HERE, Machine

# Reserved for network benchmarks (RFC 2544), so nothing else on this machine uses it.
NETWORK = "198.18.0"
BRIDGE = "gatehouse-bench"


class Network(NamedTuple):
    kind: str
    addresses: str
    hub: Machine
    nodes: tuple[Machine, ...]


@contextmanager
def network(count: int) -> Iterator[Network]:
    """`count` nodes, and a hub for PostgreSQL, Redis, nginx and the clients."""
    with ExitStack() as stack:
        if has_namespaces():
            stack.callback(ip, "link", "delete", BRIDGE)
            ip("link", "add", BRIDGE, "type", "bridge")
            ip("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
            ip("link", "set", BRIDGE, "up")
            nodes = tuple(stack.enter_context(namespace(number)) for number in range(1, count + 1))
            yield Network("network namespaces", f"{NETWORK}.0/24", Machine(f"{NETWORK}.1"), nodes)
        else:
            nodes = tuple(Machine(f"127.0.1.{number}") for number in range(1, count + 1))
            yield Network("loopback addresses", "127.0.0.0/8", HERE, nodes)


def ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


def has_namespaces() -> bool:
    try:
        return ip("netns", "add", BRIDGE) and ip("netns", "delete", BRIDGE)
    except FileNotFoundError:
        return False


@contextmanager
def namespace(number: int) -> Iterator[Machine]:
    name, cable = f"gatehouse-node-{number}", f"gatehouse{number}"
    inside = ("netns", "exec", name, "ip")
    ip("netns", "add", name)
    try:
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", cable, "master", BRIDGE, "up")
        ip(*inside, "address", "add", f"{NETWORK}.{number + 10}/24", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")
        yield Machine(f"{NETWORK}.{number + 10}", ("ip", "netns", "exec", name))
    finally:
        # This also deletes both ends of the cable.
        ip("netns", "delete", name)
