"""Ready configurations for the four gateways, from the same files that the tests run the real gateways with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "gateway_configs"
FILES: Mapping[str, str] = {
    "nginx": "nginx.conf",
    "traefik": "traefik.yml",
    "caddy": "Caddyfile",
    "envoy": "envoy.yaml",
}
TITLES: Mapping[str, str] = {"nginx": "nginx", "traefik": "Traefik", "caddy": "Caddy", "envoy": "Envoy"}


@dataclass(frozen=True)
class Places:
    """Where things are, each as host:port, and the gateways' shared secret as it shall stand in the file."""

    gatehouse: str = "gatehouse.internal:8000"
    upstream: str = "api.internal:9000"
    listen: str = "0.0.0.0:8080"
    secret: str = "<GATEWAY_SECRET>"  # noqa: S105  (says what to put there)


def configuration(gateway: str, places: Places) -> str:
    """The configuration file of a gateway (nginx, traefik, caddy or envoy) for these places."""
    text = (DIRECTORY / FILES[gateway]).read_text()
    for name, value in values(places).items():
        text = text.replace(name, value)
    return text


def values(places: Places) -> dict[str, str]:
    """What each placeholder stands for. Longer names first: none may be the start of one that comes later."""
    filled = {"GATEWAY_SECRET": places.secret}
    for name, address in (
        ("GATEHOUSE", places.gatehouse),
        ("UPSTREAM", places.upstream),
        ("LISTEN", places.listen),
    ):
        host, _, port = address.rpartition(":")
        filled |= {f"{name}_ADDRESS": address, f"{name}_HOST": host.strip("[]"), f"{name}_PORT": port}
    return filled
