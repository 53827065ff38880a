"""Hosts of requests and rules are normalized, and the most specific rule wins."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from config.base.hosts import (
    MAX_GIVEN_LENGTH,
    host_matches,
    host_of_header,
    host_specificity,
    normal_host,
    normal_host_pattern,
)

LONGEST = f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("api.example.com:8443", "api.example.com"),
        ("api.example.com:", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com.:80", "api.example.com"),
        ("localhost", "localhost"),
        ("my_service:9000", "my_service"),
        ("192.0.2.7:80", "192.0.2.7"),
        ("[2001:DB8:0::1]:443", "[2001:db8::1]"),
        ("[::1]", "[::1]"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example:80", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        (LONGEST, LONGEST),
    ],
)
def test_request_hosts_are_normalized(given, normal):
    assert normal_host(given) == normal
    # Normalizing is idempotent, and a rule for the host is normalized the same way.
    assert normal_host(normal) == normal
    assert host_matches(normal_host_pattern(normal), normal_host(given))


@pytest.mark.parametrize(
    "given",
    [
        "", ".", ":80", "a..b", "-a.example", "a-.example", "a b", "a/b", "a,b", "user@example.com", "*.example.com",
        "example.com:80:80", "example.com:x", "::1", "[::1", "[fe80::1%eth0]", "[nonsense]", "300.0.2.7", "1.2.3",
        "straße.example", "a\u200bb.example", "api。example", "\N{REPLACEMENT CHARACTER}.example", "a\0b",
        f"{LONGEST}e", f"{'a' * 64}.example", "ä" * 260, "ä" * 300, "a." * 5000,
    ],
)  # fmt: skip
def test_invalid_hosts_are_empty(given):
    assert normal_host(given) == ""


def test_host_headers_are_decoded_as_utf_8():
    assert host_of_header("bücher.example".encode().decode("latin-1")) == "xn--bcher-kva.example"
    assert host_of_header("b\xfccher.example") == ""
    assert host_of_header("Api.Example.com:80") == "api.example.com"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        ("  ", ""),
        (" API.example.com. ", "api.example.com"),
        ("*.Example.com", "*.example.com"),
        ("*.com", "*.com"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("192.0.2.7", "192.0.2.7"),
        (f"*.{LONGEST}", f"*.{LONGEST}"),
    ],
)
def test_hosts_of_rules_are_normalized(text, normal):
    assert normal_host_pattern(text) == normal
    assert normal_host_pattern(normal) == normal


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("https://api.example.com", "Remove the scheme"),
        ("api.example.com/v1", "Remove the path"),
        ("api.example.com?x=1", "Remove the path"),
        ("api.example.com:8080", "Remove the port"),
        ("*.example.com:8080", "Remove the port"),
        ("[::1]:80", "Remove the port"),
        ("*", "Leave the host empty"),
        ("api.*.com", "Use * only as the first label"),
        ("*api.example.com", "Use * only as the first label"),
        ("*.*.example.com", "Use * only as the first label"),
        ("*.192.0.2.7", "Use * only as the first label"),
        ("straße.example", "ASCII form"),
        ("user@example.com", "Enter a valid host"),
        ("1.2.3", "Enter a valid host"),
        ("a b", "Enter a valid host"),
        (".", "Enter a valid host"),
        ("a" * (MAX_GIVEN_LENGTH + 1), "Enter a valid host"),
    ],
)
def test_invalid_hosts_of_rules_are_rejected_with_a_reason(text, error):
    with pytest.raises(ValidationError, match=error.replace("*", r"\*")):
        normal_host_pattern(text)


def test_a_wildcard_matches_subdomains():
    assert host_matches("*.example.com", "api.example.com")
    assert host_matches("*.example.com", "a.b.example.com")
    assert not host_matches("*.example.com", "example.com")
    assert not host_matches("*.example.com", "badexample.com")
    assert not host_matches("api.example.com", "sandbox.example.com")


def test_requests_without_a_host_only_match_rules_for_any_host():
    assert host_matches("", "")
    assert host_matches("", "api.example.com")
    assert not host_matches("api.example.com", "")
    assert not host_matches("*.com", "")


def test_the_most_specific_host_wins():
    patterns = ["*.example.com", "", "a.eu.example.com", "*.eu.example.com"]
    ranked = ["", "*.example.com", "*.eu.example.com", "a.eu.example.com"]
    assert sorted(patterns, key=host_specificity) == ranked
    assert host_specificity(LONGEST) > host_specificity(f"*.{LONGEST[:253]}")
