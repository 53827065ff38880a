"""Replay Traefik's documented ForwardAuth request to Gatehouse under gunicorn."""

from __future__ import annotations

import re
import socket

import pytest
import yaml

from apikeys.gateway.answers import EMPTY_IDENTITY
from apikeys.models import KeyUsage
from apikeys.tools.gateway_setup import Addresses, configuration
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import gatehouse

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

# What Traefik 3 sends for `POST https://api.example.com/orders/7?page=2` with our configuration: a GET without a body, with
# the client's headers in authRequestHeaders and the X-Forwarded headers that ForwardAuth sets.
REQUEST = (
    "GET /authz/traefik HTTP/1.1\r\n"
    "Host: 127.0.0.1:8000\r\n"
    "User-Agent: curl/8.5.0\r\n"
    "{credential}"
    "X-Forwarded-For: 203.0.113.9\r\n"
    "X-Forwarded-Host: api.example.com\r\n"
    "X-Forwarded-Method: {method}\r\n"
    "X-Forwarded-Proto: https\r\n"
    "X-Forwarded-Uri: {uri}\r\n"
    "Accept-Encoding: gzip\r\n"
    "\r\n"
)


def replay(port, credential="", method="POST", uri="/orders/7?page=2"):
    """Returns (status, headers by lower-case name)."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(REQUEST.format(credential=credential, method=method, uri=uri).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += wire.recv(65536)
    head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    return int(head[0].split(" ")[1]), headers


def test_traefik_requests_are_answered_as_documented(tmp_path, alice, counters):
    key, reader = make_key(alice, rate_limit=1, rate_period=60), make_key(alice, allow=["read *"])
    by_key, by_reader = f"X-Api-Key: {key.secret}\r\n", f"Authorization: Bearer {reader.secret}\r\n"
    with gatehouse(tmp_path) as server:
        status, headers = replay(server.port, by_key)
        assert status == 200
        assert (headers["x-auth-username"], headers["x-auth-key-id"]) == ("alice", str(key.pk))
        assert int(headers["content-length"]) < 10
        event = KeyUsage.objects.get()
        assert (event.method, event.endpoint, event.ip_address) == ("POST", "/orders/7", "203.0.113.9")

        status, headers = replay(server.port, by_key)
        assert (status, "retry-after" in headers, "ratelimit" in headers) == (429, True, True)
        assert headers["content-type"] == "application/problem+json"
        assert replay(server.port)[0] == 401
        assert replay(server.port, by_reader)[0] == 403
        assert replay(server.port, by_reader, method="GET")[0] == 200
        assert replay(server.port, by_reader, method="GET", uri="/a/%2e%2e/b")[0] == 403
        assert replay(server.port, "X-Api-Key: a\r\nX-Api-Key: b\r\n")[0] == 401


def forward_auth():
    return yaml.safe_load(configuration("traefik", Addresses()))["http"]["middlewares"]["gatehouse"]["forwardAuth"]


def in_go_spelling(name):
    """A header's name as Go's net/http writes it. Traefik compares names in this form."""
    return "-".join(word[:1].upper() + word[1:].lower() for word in name.split("-"))


# ForwardAuth removes the client's headers that match authResponseHeadersRegex (traefik/traefik v2 and v3,
# pkg/middlewares/auth/forward.go, ServeHTTP), then sets those of the response that match.
@pytest.mark.parametrize("mark", "-_.~")
@pytest.mark.parametrize("other", "-_.~")
def test_traefik_removes_every_spelling_of_the_identity_headers(mark, other):
    pattern = re.compile(forward_auth()["authResponseHeadersRegex"])
    for name in EMPTY_IDENTITY:
        first, second, *rest = name.split("-")
        for change in (str.lower, str.upper, str):
            assert pattern.search(in_go_spelling(change(f"{first}{mark}{second}{other}{other.join(rest)}")))
        assert pattern.search(in_go_spelling(name))


@pytest.mark.parametrize(
    "name", ["X-Api-Key", "Authorization", "X-Authorization", "X-Forwarded-Uri", "My-X-Auth-User-Id"]
)
def test_traefik_keeps_other_headers(name):
    assert not re.search(forward_auth()["authResponseHeadersRegex"], name)


def test_traefik_sends_all_headers_that_gatehouse_reads():
    assert set(forward_auth()["authRequestHeaders"]) == {
        "Authorization",
        "X-API-Key",
        "User-Agent",
        "Access-Control-Request-Method",
        "X-Gateway-Secret",
    }
    # The client's own value must have no effect.
    assert forward_auth()["trustForwardHeader"] is False


def test_traefik_request_without_the_gateway_secret_is_denied(tmp_path, alice, counters):
    """Traefik before 2.11.9 sends this if a client names X-Gateway-Secret in Connection."""
    by_key = f"X-Api-Key: {make_key(alice).secret}\r\n"
    with gatehouse(tmp_path, GATEWAY_SECRET="between-us") as server:
        assert replay(server.port, by_key)[0] == 403
        assert replay(server.port, f"{by_key}X-Gateway-Secret: between-us\r\n")[0] == 200


def test_preflight_response_sets_empty_identity_headers(tmp_path, counters):
    with gatehouse(tmp_path, ALLOW_CORS_PREFLIGHT="true") as server:
        status, headers = replay(server.port, "Access-Control-Request-Method: POST\r\n", method="OPTIONS")
    assert status == 200
    assert {name.lower(): "" for name in EMPTY_IDENTITY}.items() <= headers.items()
