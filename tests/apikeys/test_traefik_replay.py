"""Traefik's documented ForwardAuth request, replayed byte for byte to Gatehouse under gunicorn."""

from __future__ import annotations

import socket

import pytest

from apikeys.models import KeyUsage
from tests.apikeys.conftest import make_key
from tests.apikeys.servers import gatehouse

pytestmark = pytest.mark.django_db(transaction=True)

# What Traefik 3 sends for `POST https://api.example.com/orders/7?page=2`: a GET without a body, the client's own headers
# but for the hop-by-hop ones, and the X-Forwarded set of its documentation.
REQUEST = (
    "GET /authz/traefik HTTP/1.1\r\n"
    "Host: 127.0.0.1:8000\r\n"
    "User-Agent: curl/8.5.0\r\n"
    "Accept: */*\r\n"
    "Content-Type: application/json\r\n"
    "{credential}"
    "X-Forwarded-For: 203.0.113.9\r\n"
    "X-Forwarded-Host: api.example.com\r\n"
    "X-Forwarded-Method: {method}\r\n"
    "X-Forwarded-Port: 443\r\n"
    "X-Forwarded-Proto: https\r\n"
    "X-Forwarded-Server: traefik-7d9c\r\n"
    "X-Forwarded-Uri: {uri}\r\n"
    "X-Real-Ip: 203.0.113.9\r\n"
    "Accept-Encoding: gzip\r\n"
    "\r\n"
)


def replay(port, credential="", method="POST", uri="/orders/7?page=2"):
    """(status, headers by lower-case name) of the replayed request."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(REQUEST.format(credential=credential, method=method, uri=uri).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += wire.recv(65536)
    head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    return int(head[0].split(" ")[1]), headers


def test_the_documented_requests_are_answered_as_documented(tmp_path, alice, counters):
    key, reader = make_key(alice, rate_limit=1, rate_period=60), make_key(alice, allow=["read *"])
    by_key, by_reader = f"X-Api-Key: {key.secret}\r\n", f"Authorization: Bearer {reader.secret}\r\n"
    with gatehouse(tmp_path, "-w", "1") as server:
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
