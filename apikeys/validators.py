"""Validation of a key's name, networks and metadata."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from django.core.exceptions import ValidationError

from apikeys.addresses import Network, unmapped
from config.base.json import json_problem
from config.base.text import quoted
from config.base.validators import validate_no_secrets

MAX_NETWORKS = 100
MAX_METADATA_LENGTH = 10_000


def normalize_network(entry: str) -> str:
    """The shortest form of an address or network; IPv4-mapped ones become IPv4. Raises ValidationError."""
    try:
        network = ipaddress.ip_network(entry)
    except ValueError:
        raise ValidationError(network_error(entry), code="invalid_network") from None
    if "%" in entry:
        raise ValidationError(f"Remove the zone (% and what follows) from {quoted(entry)}.", code="invalid_network")
    return str(shortest(unmapped(network)))


def network_error(entry: str) -> str:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return f"{quoted(entry)} isn't an IP address or network. Examples: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32."
    return f"{quoted(entry)} is an address within a network. Enter {network} for the network, or only the address."


def shortest(network: Network) -> Any:
    return network.network_address if network.prefixlen == network.max_prefixlen else network


def normalize_networks(entries: Any) -> list[str]:
    """Normalize the entries and remove duplicates. Raises ValidationError with one message per invalid entry."""
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValidationError("The allowed addresses must be a list of strings.", code="invalid_networks")
    if len(entries) > MAX_NETWORKS:
        raise ValidationError(f"Enter at most {MAX_NETWORKS} addresses and networks.", code="too_many_networks")
    networks, errors = [], []
    for entry in entries:
        try:
            networks.append(normalize_network(entry.strip()))
        except ValidationError as error:
            errors.append(error)
    if errors:
        raise ValidationError(errors)
    return list(dict.fromkeys(networks))


def normalize_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise ValidationError("Enter a name, for example what the key is for.", code="required")
    return name


def normalize_metadata(value: Any) -> dict[str, Any]:
    """None becomes an empty object. Raises ValidationError for anything else but an object that both databases can store."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValidationError(
            'The metadata must be a JSON object, for example {"team": "billing"}.', code="not_an_object"
        )
    reason = json_problem(value, MAX_METADATA_LENGTH)
    if reason:
        raise ValidationError(f"The metadata {reason}", code="invalid_metadata")
    validate_no_secrets(json.dumps(value))
    return value
