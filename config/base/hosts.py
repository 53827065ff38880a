"""Host names: the one form of a request's host, and the host of a rule: empty for any, a name, or `*.example.com`.

`*.example.com` stands for every name below example.com, however deep, but not for example.com itself. Of the rules that
match, an exact name beats a wildcard, a longer wildcard a shorter one, and any of them a rule without a host.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from django.core.exceptions import ValidationError
from django.db import models

# RFC 1035, section 2.3.4.
MAX_HOST_LENGTH = 253
# Also room for a port, a trailing dot and the brackets of an IPv6 address.
MAX_GIVEN_LENGTH = 270
MAX_HOST_PATTERN_LENGTH = 255
# Underscores aren't allowed in host names, but some internal networks have them.
LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"(?=.{{1,{MAX_HOST_LENGTH}}}\Z)(?:{LABEL}\.)*{LABEL}")
PORT = re.compile(r":[0-9]*\Z")
WILDCARD = "*."
EXACT = MAX_HOST_PATTERN_LENGTH + 1
INVALID = "Enter a valid host, for example api.example.com or *.example.com."
MISPLACED_WILDCARD = "Use * only as the first label of a name, for example *.example.com."
FAULTS = (
    (re.compile(r"://"), "Remove the scheme, such as https://. Enter only the host, for example api.example.com."),
    (re.compile(r"[/?#]"), "Remove the path. Enter only the host, for example api.example.com."),
    (PORT, "Remove the port. Hosts are compared without it."),
    (re.compile(r"\A\*\Z"), "Leave the host empty to match any host."),
    (re.compile(r"\*"), MISPLACED_WILDCARD),
)


def normal_host(given: str) -> str:
    """The host of a request in lower case, without port and trailing dot, an internationalized name in its ASCII form
    (`xn--…`). Empty if it's no valid host, so that only rules for any host match.
    """
    return known_host(given) if len(given) <= MAX_GIVEN_LENGTH else ""


def host_of_header(value: str) -> str:
    """Like `normal_host`, from a WSGI header, whose characters are the bytes that were sent (Latin-1)."""
    return normal_host(value if value.isascii() else value.encode("latin-1", "replace").decode(errors="replace"))


@lru_cache(maxsize=1024)
def known_host(given: str) -> str:
    try:
        return normal_name(PORT.sub("", given, count=1))
    except ValueError:
        return ""


def normal_name(text: str) -> str:
    """Raises ValueError unless `text` is a host name, an IPv4 address, or an IPv6 address in brackets."""
    if text.startswith("[") and text.endswith("]") and "%" not in text:
        return f"[{ipaddress.IPv6Address(text[1:-1])}]"
    name = ascii_name(text.removesuffix("."))
    if not NAME.fullmatch(name):
        raise ValueError("not a host name")
    # If the last label is all digits, it's an address, or a mistyped one.
    return str(ipaddress.IPv4Address(name)) if name.rpartition(".")[2].isdecimal() else name


def ascii_name(name: str) -> str:
    """Raises ValueError if `name` isn't ASCII and has no ASCII form."""
    if name.isascii():
        return name.lower()
    if len(name) > MAX_HOST_LENGTH:
        raise ValueError("too long")
    name = normalize("NFC", name.lower())
    encoded = name.encode("idna")
    # Python maps ß to ss and browsers don't, so the two would mean different hosts.
    if encoded.decode("idna") != name:
        raise NotReversible
    return encoded.decode("ascii").lower()


class NotReversible(ValueError):
    """The name has no ASCII form that every program agrees on."""


def normal_host_pattern(text: str) -> str:
    """The host of a rule in the form of `normal_host`, perhaps after `*.`. Raises ValidationError."""
    text = text.strip()
    if not text:
        return ""
    name = text.removeprefix(WILDCARD)
    try:
        host = normal_name(name if ":" not in name or name.startswith("[") else f"[{name}]")
    except ValueError as error:
        raise ValidationError(fault_of(text, error), code="invalid_host") from None
    if name == text:
        return host
    if is_address(host):
        raise ValidationError(MISPLACED_WILDCARD, code="invalid_host")
    return f"{WILDCARD}{host}"


def is_address(host: str) -> bool:
    return host.startswith("[") or host.rpartition(".")[2].isdecimal()


def fault_of(text: str, error: ValueError) -> str:
    if isinstance(error, NotReversible):
        return "Enter this host in its ASCII form, which starts with xn--."
    return next((fault for pattern, fault in FAULTS if pattern.search(text)), INVALID)


def host_matches(pattern: str, host: str) -> bool:
    """Whether a rule's host matches a request's; both in normal form. Without a host, only a rule for any matches."""
    if not pattern or pattern == host:
        return True
    return pattern.startswith(WILDCARD) and host.endswith(pattern[1:])


def host_specificity(pattern: str) -> int:
    """If several patterns match a host, the one with the highest number wins. 0 for any host."""
    return len(pattern) if pattern.startswith(WILDCARD) else EXACT * bool(pattern)


class HostPatternField(models.CharField):  # type: ignore[type-arg]
    """The host of a rule, in normal form. Empty for any host."""

    def __init__(self, *args: Any, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "max_length": MAX_HOST_PATTERN_LENGTH,
            "blank": True,
            "default": "",
            "db_default": "",
            "help_text": "For example api.example.com or *.example.com. Leave empty for any host.",
        }
        super().__init__(*args, **defaults | options)

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        return super().clean(normal_host_pattern(self.to_python(value) or ""), model_instance)
