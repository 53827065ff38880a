"""Rules for what a key may hold. Each message says what is wrong with which entry, and what would be right."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from django.core.exceptions import ValidationError

from apikeys.addresses import Network, unmapped
from config.base.json import why_unfit
from config.base.validators import refuse_secrets
from ratelimits.matching import validate_pattern

MOST_NETWORKS = 100
LONGEST_RESOURCE = 255
LONGEST_METADATA = 10_000
QUOTED = 60
RESOURCE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


def quoted(text: str) -> str:
    """`text` as part of an error message: printable, and not longer than a line."""
    printable = "".join(character if character.isprintable() else "�" for character in text[: QUOTED + 1])
    return f"“{printable[:QUOTED]}{'…' if len(printable) > QUOTED else ''}”"


def normal_network(entry: str) -> str:
    """One address or network in its shortest form, an IPv4-mapped one as IPv4. Raises ValidationError."""
    try:
        network = ipaddress.ip_network(entry)
    except ValueError:
        raise ValidationError(network_error(entry), code="invalid_network") from None
    if "%" in entry:
        raise ValidationError(f"{quoted(entry)}: leave the zone (after %) out.", code="invalid_network")
    return str(shortest(unmapped(network)))


def network_error(entry: str) -> str:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return f"{quoted(entry)} is neither an address nor a network. Right would be 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32."
    return f"{quoted(entry)} is an address within a network. Write {network} for the network, or the address alone."


def shortest(network: Network) -> Any:
    return network.network_address if network.prefixlen == network.max_prefixlen else network


def normal_networks(entries: Any) -> list[str]:
    """A key's allowed addresses in normal form, without duplicates. Raises ValidationError with one message per bad entry."""
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValidationError("The allowed addresses must be a list of texts.", code="invalid_networks")
    if len(entries) > MOST_NETWORKS:
        raise ValidationError(f"At most {MOST_NETWORKS} addresses and networks.", code="too_many_networks")
    networks, errors = [], []
    for entry in entries:
        try:
            networks.append(normal_network(entry.strip()))
        except ValidationError as error:
            errors.append(error)
    if errors:
        raise ValidationError(errors)
    return list(dict.fromkeys(networks))


def normal_name(name: str) -> str:
    """A key's name without space around it. Raises ValidationError if it is empty."""
    name = name.strip()
    if not name:
        raise ValidationError("Give the key a name, for example what it is for.", code="required")
    return name


def normal_metadata(value: Any) -> dict[str, Any]:
    """`value`, if it is a JSON object that both databases can hold; nothing is an empty one. Raises ValidationError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValidationError('The metadata must be a JSON object, such as {"team": "billing"}.', code="not_an_object")
    reason = why_unfit(value, LONGEST_METADATA)
    if reason:
        raise ValidationError(f"The metadata {reason}", code="invalid_metadata")
    refuse_secrets(json.dumps(value))
    return value


def validate_resource(resource: str) -> None:
    """Refuse what is neither a path pattern, nor a resource's name, nor * for everything."""
    if resource.startswith("/"):
        validate_pattern(resource)
    elif resource != "*" and not RESOURCE_NAME.fullmatch(resource):
        raise ValidationError(
            f"{quoted(resource)} is no resource. Give a path such as /orders/* or a name such as orders.",
            code="invalid_resource",
        )
    if len(resource) > LONGEST_RESOURCE:
        raise ValidationError(f"A resource has at most {LONGEST_RESOURCE} characters.", code="resource_too_long")
