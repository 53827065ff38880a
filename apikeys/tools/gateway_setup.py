"""Ready-to-use gateway configurations, from the same files that the tests run real gateways with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

DIRECTORY = Path(__file__).parent / "gateway_configs"


class Gateway(NamedTuple):
    title: str
    filename: str


GATEWAYS: Mapping[str, Gateway] = {
    "nginx": Gateway("nginx", "nginx.conf"),
    "traefik": Gateway("Traefik", "traefik.yml"),
    "caddy": Gateway("Caddy", "Caddyfile"),
    "envoy": Gateway("Envoy", "envoy.yaml"),
}


@dataclass(frozen=True)
class Addresses:
    """What a configuration needs to know: three addresses as host:port, and GATEWAY_SECRET as it appears in the file."""

    gatehouse: str = "gatehouse.internal:8000"
    upstream: str = "api.internal:9000"
    listen: str = "0.0.0.0:8080"
    secret: str = "<GATEWAY_SECRET>"  # noqa: S105  (a placeholder)


def configuration(gateway: str, addresses: Addresses) -> str:
    text = (DIRECTORY / GATEWAYS[gateway].filename).read_text()
    for placeholder, value in placeholders(addresses).items():
        text = text.replace(placeholder, value)
    return text


def placeholders(addresses: Addresses) -> dict[str, str]:
    # Replaced in this order: none may be the start of a later one.
    values = {"GATEWAY_SECRET": addresses.secret}
    for name in ("gatehouse", "upstream", "listen"):
        address, prefix = getattr(addresses, name), name.upper()
        host, _, port = address.rpartition(":")
        values |= {f"{prefix}_ADDRESS": address, f"{prefix}_HOST": host.strip("[]"), f"{prefix}_PORT": port}
    return values
