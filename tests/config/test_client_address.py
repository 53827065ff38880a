"""The client's address is the peer's, or what our own proxies saw; what a client writes itself is not believed."""

from __future__ import annotations

import json

import pytest

from config.base_http import client_address, problem, valid_address


def address_of(rf, settings, hops, forwarded=None, peer="10.0.0.1"):
    settings.TRUSTED_PROXY_HOPS = hops
    headers = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return client_address(rf.get("/", REMOTE_ADDR=peer, **headers))


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, None, "10.0.0.1"),
        (0, "198.51.100.7", "10.0.0.1"),
        (1, "198.51.100.7", "198.51.100.7"),
        (1, "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        (2, "6.6.6.6, 198.51.100.7, 10.0.0.9", "198.51.100.7"),
        (1, "2001:db8::7", "2001:db8::7"),
        (1, "::ffff:198.51.100.7", "198.51.100.7"),
        (1, "", "10.0.0.1"),
        (1, None, "10.0.0.1"),
        (1, "not an address", "10.0.0.1"),
        (1, "198.51.100.7:4711", "10.0.0.1"),
    ],
)
def test_the_address_follows_the_trusted_hops(rf, settings, hops, forwarded, expected):
    assert address_of(rf, settings, hops, forwarded) == expected


def test_with_fewer_entries_than_hops_nothing_is_believed(rf, settings):
    assert address_of(rf, settings, 2, "6.6.6.6") == "10.0.0.1"


def test_a_peer_on_a_unix_socket_has_no_address(rf, settings):
    assert address_of(rf, settings, 0, peer="") == ""


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "::g", "1.2.3.4/8", "\0", "9" * 10_000])
def test_what_is_no_address_is_empty(text):
    assert valid_address(text) == ""


def test_a_problem_is_problem_json():
    response = problem(429, "Too many requests", "Try again in 3 seconds.", retry_after=3)
    assert response.status_code == 429
    assert response["Content-Type"] == "application/problem+json"
    assert json.loads(response.content) == {
        "type": "about:blank",
        "title": "Too many requests",
        "status": 429,
        "detail": "Try again in 3 seconds.",
        "retry_after": 3,
    }
