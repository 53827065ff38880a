"""The client's address comes from the peer or from trusted proxies, never from what the client sends."""

from __future__ import annotations

import json

import pytest

from apikeys.addresses import within
from config.base.http import client_address, plain_address, problem


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
        (1, "203.0.113.7:40001", "203.0.113.7"),
        (1, "6.6.6.6:1, [2001:db8::7]:443", "2001:db8::7"),
        (2, "6.6.6.6, 198.51.100.7:40001, 10.0.0.9:55", "198.51.100.7"),
        (1, "198.51.100.7,", "10.0.0.1"),
        (1, ", 198.51.100.7", "198.51.100.7"),
        (2, "198.51.100.7, , 10.0.0.9", "10.0.0.1"),
        (1, "198.51.100.7, unknown", "10.0.0.1"),
        (1, "198.51.100.7, _hidden", "10.0.0.1"),
    ],
)
def test_the_address_is_taken_from_the_trusted_hop(rf, settings, hops, forwarded, expected):
    assert address_of(rf, settings, hops, forwarded) == expected


def test_a_header_with_fewer_entries_than_hops_is_ignored(rf, settings):
    assert address_of(rf, settings, 2, "6.6.6.6") == "10.0.0.1"


def test_a_peer_on_a_unix_socket_has_no_address(rf, settings):
    assert address_of(rf, settings, 0, peer="") == ""


def test_an_ipv4_mapped_peer_is_its_ipv4_address(rf, settings):
    assert address_of(rf, settings, 0, peer="::ffff:198.51.100.7") == "198.51.100.7"


@pytest.mark.parametrize("hops", [0, 1])
def test_the_forwarded_and_x_real_ip_headers_are_ignored(rf, settings, hops):
    settings.TRUSTED_PROXY_HOPS = hops
    request = rf.get("/", REMOTE_ADDR="10.0.0.1", HTTP_FORWARDED="for=198.51.100.7", HTTP_X_REAL_IP="198.51.100.7")
    assert client_address(request) == "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:40001", "203.0.113.7"),
        (" 203.0.113.7:40001 ", "203.0.113.7"),
        ("\t203.0.113.7", "203.0.113.7"),
        ('"203.0.113.7:40001"', "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("[fe80::1%25eth0]", "fe80::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:40001", "203.0.113.7"),
        ("::ffff:203.0.113.7%eth0", "203.0.113.7"),
    ],
)
def test_addresses_are_parsed_as_proxies_write_them(text, address):
    assert plain_address(text) == address


INVALID_ADDRESSES = [
    *(
        "",
        " ",
        '"',
        '""',
        "1.2.3",
        "1.2.3.4.5",
        "::g",
        "1.2.3.4/8",
        "2001:db8::/32",
        "\0",
        "9" * 10_000,
        ":",
        "[]",
        "[]:1",
    ),
    *(
        "unknown",
        "_hidden",
        "localhost",
        "example.com:80",
        "for=203.0.113.7",
        "-",
        "%",
        "%eth0",
        "fe80::1%",
        "[fe80::1%]",
    ),
    *(
        "203.0.113.7:",
        "203.0.113.7:port",
        "203.0.113.7:123456",
        "203.0.113.7:1:2",
        "203.0.113.7%eth0",
        "[203.0.113.7]:80",
    ),
    *(
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]443",
        "[2001:db8::1]:",
        "[[2001:db8::1]]",
        '"203.0.113.7',
        "'203.0.113.7'",
    ),
    *(
        "203.000.113.7",
        "0203.0.113.7",
        "0xcb.0.113.7",
        "3405803783",
        "203.0.113.256",
        "203.0.113.7, 203.0.113.8",
        "1 .2.3.4",
    ),
    *("٢٠٣.0.113.7", "203.0.113.7:٤", "２０３.0.113.7", "203.0.113.7\x00", "2001:db8::1\nX: y"),
]


@pytest.mark.parametrize("text", INVALID_ADDRESSES)
def test_invalid_addresses_are_empty(text):
    assert plain_address(text) == ""


@pytest.mark.parametrize("text", INVALID_ADDRESSES)
def test_invalid_addresses_are_in_no_network(text):
    assert not within(text, ("0.0.0.0/0", "::/0"))


@pytest.mark.parametrize(
    ("address", "network", "inside"),
    [
        ("203.0.113.7:40001", "203.0.113.7", True),
        ("203.0.113.7:40001", "203.0.113.0/24", True),
        ("[2001:db8::1]:443", "2001:db8::/32", True),
        ("203.0.113.7", "::ffff:203.0.113.0/120", True),
        ("::ffff:203.0.113.7", "203.0.113.7/32", True),
        ("203.0.114.7", "::ffff:203.0.113.0/120", False),
        ("203.0.113.7", "::/0", False),
        ("2001:db8::1", "0.0.0.0/0", False),
    ],
)
def test_within_accepts_any_notation(address, network, inside):
    assert within(address, (network,)) is inside


@pytest.mark.django_db
def test_clients_behind_a_proxy_that_adds_ports_are_throttled_by_address(client, settings, clear_global_state):
    settings.TRUSTED_PROXY_HOPS = 1

    def sign_in(address, port):
        data = {"login": f"nobody{port}", "password": "wrong horse 1"}
        return client.post("/accounts/login/", data, headers={"X-Forwarded-For": f"{address}:{port}"}).status_code

    attempts = [sign_in("203.0.113.7", 40_000 + number) for number in range(16)]
    assert (attempts[0], attempts[-1]) == (200, 429)
    assert sign_in("203.0.113.8", 40_000) == 200


def test_problem_responses():
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
