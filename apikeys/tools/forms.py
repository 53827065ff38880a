"""Forms of the staff tools: explain a decision, connect a gateway, run the self-test, try a rate limit."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from apikeys.decision.checks import ACTION_OF_METHOD, Facts
from apikeys.decision.credentials import MISSING, Credential, credential_from
from apikeys.decision.lookup import KeyRecord, find_key_by_id
from config.base.forms import AddressField, HostField, LiveChoicesForm, TimeField, TimeInput
from config.base.hosts import MAX_GIVEN_LENGTH
from ratelimits.matching import normal_pattern
from ratelimits.models import PERIODS, RateLimit

METHOD_CHOICES = [(method, method) for method in ACTION_OF_METHOD]
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{LABEL}\.)*{LABEL}\.?")
# No leading zeros: YAML would read them as an octal number.
PORT = re.compile(r"[1-9][0-9]{0,4}")


class ExplainForm(forms.Form):
    """A request to explain. `key` takes a key's ID or its secret, which is never shown again."""

    key = forms.CharField(
        label="API key",
        max_length=200,
        help_text="The key's ID or its secret. A secret isn't stored or shown again.",
        widget=forms.TextInput(attrs={"class": "mono"}),
    )
    method = forms.ChoiceField(choices=METHOD_CHOICES)
    path = forms.CharField(
        max_length=4096,
        initial="/",
        strip=False,
        help_text="As a client would send it: URL-encoded, with its query string if it has one.",
        widget=forms.TextInput(attrs={"class": "mono"}),
    )
    host = HostField(
        max_length=MAX_GIVEN_LENGTH,
        required=False,
        help_text="Leave empty if the gateway doesn't send one.",
        widget=forms.TextInput(attrs={"class": "mono", "placeholder": "api.example.com"}),
    )
    address = AddressField(
        label="Client address",
        max_length=60,
        required=False,
        help_text="Leave empty if the gateway doesn't send one.",
    )
    key_record: KeyRecord | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if settings.ANONYMOUS_TIER:
            self.fields["key"].required = False
            self.fields["key"].help_text += " Leave empty for a request without a key."

    def clean_key(self) -> str:
        text: str = self.cleaned_data["key"]
        if is_uuid(text):
            self.key_record = find_key_by_id(UUID(text))
            if self.key_record is None:
                raise ValidationError("No API key has this ID. Deleted keys are denied as unknown.")
        return text

    def facts(self) -> Facts:
        data = self.cleaned_data
        credential = credential_from(data["key"]) if data["key"] else MISSING
        if self.key_record:
            credential = Credential()
        return Facts(credential, method=data["method"], path=data["path"], address=data["address"], host=data["host"])

    def without_secret(self) -> ExplainForm:
        """The form to show again: as it was filled in, with its errors, but without a secret."""
        key = self.data.get("key", "")
        form = ExplainForm({**self.data.dict(), "key": key if is_uuid(key) else ""})  # type: ignore[attr-defined]
        form.errors.pop("key", None)
        if "key" in self.errors:
            form.errors["key"] = self.errors["key"]
        return form


def is_uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def validate_host_and_port(text: str) -> None:
    if not is_host_and_port(text):
        raise ValidationError("Enter a host and a port, for example gatehouse.internal:8000.")


def validate_address_and_port(text: str) -> None:
    host, _, port = text.rpartition(":")
    if not is_port(port) or address_of(host) is None:
        raise ValidationError("Enter an IP address and a port, for example 0.0.0.0:8080.")


def is_host_and_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    address = address_of(host)
    return is_port(port) and (not address.is_unspecified if address else is_host_name(host))


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
    # If the last label is all digits, it's an address, or a mistyped one.
    return bool(HOST_NAME.fullmatch(host)) and not host.rstrip(".").rpartition(".")[2].isdecimal()


class ConnectForm(forms.Form):
    """The addresses in a gateway's configuration. People copy that file without reading it, so nothing else may get in."""

    gatehouse = forms.CharField(
        label="Gatehouse address",
        max_length=260,
        validators=[validate_host_and_port],
        help_text="host:port of gunicorn, inside your network. The public address denies /authz/.",
    )
    upstream = forms.CharField(
        label="API address",
        max_length=260,
        initial="api.internal:9000",
        validators=[validate_host_and_port],
        help_text="host:port",
    )
    # A host name here would leave requests for other names to the gateway's defaults, and Gatehouse unasked.
    listen = forms.CharField(
        label="Gateway listens on",
        max_length=60,
        initial="0.0.0.0:8080",
        validators=[validate_address_and_port],
        help_text="IP address:port. The gateway answers for every host name there.",
    )

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        # An API in Gatehouse's place would allow everything it has a page for.
        if data.get("upstream", "").lower() == data.get("gatehouse", "").lower() != "":
            self.add_error("upstream", "This is the address of Gatehouse. Enter the address of your API.")
        return data


class SelfTestForm(forms.Form):
    url = forms.CharField(
        label="URL of your API, through the gateway",
        max_length=500,
        help_text="It must be safe to GET several times, for example https://api.example.com/orders.",
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
            raise ValidationError("Enter a full URL that starts with http:// or https://.")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValidationError("Enter the URL without a username, query string or fragment.")
        return url


class WhatIfForm(LiveChoicesForm):
    """The fields of a rate limit that decide what it denies; never saved."""

    ends_at = TimeField(label="Ends", required=False, widget=TimeInput)

    class Meta:
        model = RateLimit
        fields = ("tier", "user", "host", "path", "method", "limit", "unit", "window", "period", "ends_at", "overall")
        widgets = {"user": forms.HiddenInput}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tier: Any = self.fields["tier"]
        tier.empty_label = "Choose a tier"
        self.fields["unit"].required = False  # a link that leaves it out means requests

    def clean(self) -> dict[str, Any]:
        """Try an existing limit with other numbers, instead of rejecting it as a duplicate."""
        data: dict[str, Any] = super().clean()
        same = {name: data.get(name) for name in ("tier", "user", "host", "path", "method", "window", "period", "unit")}
        if self.instance.pk is None and not {"path", "period"} & {
            name for name, value in same.items() if value is None
        }:
            same["path"] = normal_pattern(str(same["path"]))
            same["period"] = PERIODS.get(str(same["window"]), same["period"])
            same["unit"] = same["unit"] or RateLimit.Unit.REQUESTS
            self.instance = RateLimit.objects.live().filter(**same).first() or self.instance
        return data
