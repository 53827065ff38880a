"""Forms of the staff's tools: explain a decision, connect a gateway, test one."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from apikeys.decision.credentials import Credential, checked
from apikeys.decision.decide import ACTIONS, Facts
from apikeys.decision.lookup import KeyRecord, find_key_by_id
from config.base.http import plain_address

METHOD_CHOICES = [(method, method) for method in ACTIONS]
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{LABEL}\.)*{LABEL}\.?")
# No leading zeros: YAML would read them as an octal number.
PORT = re.compile(r"[1-9][0-9]{0,4}")


class ExplainForm(forms.Form):
    """A request that is not made. `key` takes a key's id or its secret; the secret is never shown again."""

    key = forms.CharField(
        label="Key",
        max_length=200,
        strip=True,
        help_text="The key's id, or its secret. A secret is not shown again and goes nowhere.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
    )
    method = forms.ChoiceField(choices=METHOD_CHOICES)
    path = forms.CharField(
        max_length=4096,
        initial="/",
        strip=False,
        help_text="As a client would send it: encoded, with its query if it has one.",
        widget=forms.TextInput(attrs={"class": "mono"}),
    )
    address = forms.CharField(
        label="Client address",
        max_length=60,
        required=False,
        help_text="IPv4 or IPv6. Empty: the gateway does not tell.",
    )

    def clean_address(self) -> str:
        text: str = self.cleaned_data["address"]
        plain = plain_address(text)
        if text and not plain:
            raise ValidationError("This is no IPv4 or IPv6 address.")
        return plain

    def key_by_id(self) -> tuple[KeyRecord | None, bool]:
        """The key, if an id was given, and whether one was."""
        try:
            key_id = UUID(self.cleaned_data["key"])
        except ValueError:
            return None, False
        return find_key_by_id(key_id), True

    def facts(self, *, by_id: bool) -> Facts:
        data = self.cleaned_data
        return Facts(
            Credential() if by_id else checked(data["key"]),
            method=data["method"],
            path=data["path"],
            address=data["address"],
        )

    def without_secret(self) -> ExplainForm:
        """The form to show again: as it was filled in, errors included, but for a secret."""
        shown = self.data.dict() if isinstance(self.data, QueryDict) else dict(self.data)
        try:
            UUID(str(shown.get("key", "")))
        except ValueError:
            shown["key"] = ""
        form = ExplainForm(shown)
        form.full_clean()
        if "key" not in self.errors:
            form.errors.pop("key", None)
        return form


class ConnectForm(forms.Form):
    """Where the gateway finds Gatehouse and the API, for the configuration to be ready to use."""

    gatehouse = forms.CharField(
        label="Gatehouse, as the gateway reaches it",
        max_length=260,
        help_text="host:port of gunicorn itself, inside your network. The public address refuses /authz/.",
    )
    upstream = forms.CharField(
        label="Your API, as the gateway reaches it", max_length=260, initial="api.internal:9000", help_text="host:port"
    )
    listen = forms.CharField(
        label="The gateway listens on",
        max_length=60,
        initial="0.0.0.0:8080",
        help_text="IP address:port. It answers for every host name there.",
    )

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        # Nothing else may get into a configuration file that somebody copies without reading.
        for name in ("gatehouse", "upstream"):
            if name in data and not is_place(data[name]):
                self.add_error(name, "Enter a host and a port, for example gatehouse.internal:8000.")
        # A host name here would leave requests for other names to the gateway's defaults, unasked.
        if "listen" in data and not is_listening_place(data["listen"]):
            self.add_error("listen", "Enter an IP address and a port, for example 0.0.0.0:8080.")
        # An API in Gatehouse's place says yes to everything it has a page for.
        if data.get("upstream", "").lower() == data.get("gatehouse", "").lower() != "":
            self.add_error("upstream", "Enter your API's own address: this is Gatehouse's.")
        return data


def is_place(text: str) -> bool:
    """Whether this is host:port, where something can be asked."""
    host, _, port = text.rpartition(":")
    address = address_of(host)
    return is_port(port) and (not address.is_unspecified if address else is_host_name(host))


def is_listening_place(text: str) -> bool:
    """Whether this is address:port, where something can listen."""
    host, _, port = text.rpartition(":")
    return is_port(port) and address_of(host) is not None


def is_port(text: str) -> bool:
    return bool(PORT.fullmatch(text)) and int(text) < 2**16


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The IPv4 address, or the IPv6 address in brackets; None for anything else."""
    try:
        if host.startswith("[") and host.endswith("]") and "%" not in host:
            return IPv6Address(host[1:-1])
        return IPv4Address(host)
    except ValueError:
        return None


def is_host_name(host: str) -> bool:
    # A last label of digits makes an address, or a mistyped one.
    return bool(HOST_NAME.fullmatch(host)) and not host.rstrip(".").rpartition(".")[2].isdecimal()


class SelfTestForm(forms.Form):
    url = forms.CharField(
        label="A URL of your API, through the gateway",
        max_length=500,
        help_text="One that answers GET without harm, for example https://api.example.com/orders.",
        widget=forms.URLInput(attrs={"class": "mono"}),
    )

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or not url.isascii() or not url.isprintable() or " " in url:
            raise ValidationError("Give a whole URL that begins with http:// or https://.")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValidationError("Give the URL without a username, a query and a fragment.")
        return url
