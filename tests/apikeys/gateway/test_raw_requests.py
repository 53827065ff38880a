"""Send unusual and invalid raw requests to Gatehouse under gunicorn."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from contextlib import ExitStack, closing

import pytest

from apikeys.models import KeyUsage
from tests.apikeys.gateway.servers import call, gatehouse
from tests.rows import make_key

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def secret(alice):
    return make_key(alice).secret


@pytest.fixture(scope="module")
def server(tmp_path_factory, django_db_setup):
    with gatehouse(tmp_path_factory.mktemp("gatehouse"), WEB_THREADS="2") as process:
        yield process


def connect(server):
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    client.settimeout(5)
    return closing(client)


def receive(client, *, until=b""):
    """The bytes that the server sends until it closes the connection, or up to `until`."""
    received = b""
    while not until or until not in received:
        try:
            chunk = client.recv(65536)
        except (ConnectionResetError, TimeoutError):
            break
        if not chunk:
            break
        received += chunk
    return received


def exchange(server, request):
    with connect(server) as client:
        client.sendall(request)
        return receive(client)


def status_of(response):
    return int(response.split(b" ", 2)[1]) if response else None


def question(secret, *, version="1.1", target="/authz/nginx", extra=""):
    return (
        f"GET {target} HTTP/{version}\r\nHost: api.example.com\r\nX-API-Key: {secret}\r\nX-Original-Method: GET\r\n"
        f"X-Original-URI: /orders\r\n{extra}\r\n"
    ).encode()


def verification(secret, *, framing, body=None):
    body = body or json.dumps({"key": secret, "method": "GET", "path": "/orders"}).encode()
    head = f"POST /authz/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n{framing}\r\n"
    return head.encode() + body


def chunked(body):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def test_unusual_but_valid_requests_are_accepted(server, secret):
    body = json.dumps({"key": secret, "method": "GET", "path": "/orders"}).encode()
    for request in (
        question(secret, version="1.0"),
        question(secret, target="http://elsewhere.example/authz/nginx", extra="Connection: close\r\n"),
        verification(secret, framing="Transfer-Encoding: chunked\r\n", body=chunked(body)),
        verification(secret, framing=f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n", body=body),
    ):
        response = exchange(server, request)
        assert b" 200 OK\r\n" in response, (request, response)


def test_connection_is_closed_after_an_http_1_0_request(server, secret):
    response = exchange(server, question(secret, version="1.0"))
    assert b"connection: close" in response.lower()
    assert response.endswith(b"ok\n")


def test_pipelined_requests_are_answered_in_order(server, secret):
    denied = question("gate_wrong")
    response = exchange(server, question(secret) + denied + question(secret, extra="Connection: close\r\n"))
    assert re.findall(rb"HTTP/1\.1 (\d+)", response) == [b"200", b"401", b"200"]
    assert KeyUsage.objects.count() == 2


UPGRADE = (
    b"GET /authz/nginx HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
INVALID = {
    "both framings": (
        b"POST /authz/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "two lengths": (
        b"POST /authz/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        {400},
    ),
    "bare LF": (b"GET /authz/nginx HTTP/1.1\nHost: x\n\n", {400}),
    "no such coding": (b"POST /authz/verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", {400, 501}),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 404}),
    "64 kB of headers": (b"GET /authz/nginx HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 65536 + b"\r\n\r\n", {400, 431}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400, None}),
    "space in the target": (b"GET /authz/ngi nx HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "NUL in a header": (b"GET /authz/nginx HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n", {400}),
    "query beyond ASCII": (
        b"GET /admin/login/?next=\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        {302, 400},
    ),
    "upgrade": (UPGRADE, {400, 403, 404}),
}


def test_invalid_requests_are_rejected_without_a_5xx(server):
    for name, (request, statuses) in INVALID.items():
        response = exchange(server, request)
        assert status_of(response) in statuses, (name, response[:500])
    assert call(server.port, path="/livez").status == 200
    assert KeyUsage.objects.count() == 0


def test_repeated_key_header_is_denied(server, secret):
    response = exchange(server, question(secret, extra=f"X-API-Key: {secret}\r\nConnection: close\r\n"))
    assert status_of(response) == 401
    assert b"malformed_key" in response


def test_oversized_body_gives_413(server, secret):
    large = b'{"key": "' + b"a" * 100_000 + b'"}'
    for framing, body in (
        (f"Content-Length: {len(large)}\r\n", large),
        ("Transfer-Encoding: chunked\r\n", chunked(large)),
    ):
        assert status_of(exchange(server, verification(secret, framing=framing, body=body))) == 413


def test_gateway_that_never_sends_its_body_is_answered_immediately(server, secret):
    """nginx does this with `proxy_pass_request_body off` if Content-Length isn't set to empty."""
    with connect(server) as client:
        began = time.monotonic()
        client.sendall(question(secret, extra="Content-Length: 1000\r\n"))
        assert status_of(receive(client, until=b"ok\n")) == 200
        assert time.monotonic() - began < 5


def test_reset_connections_do_not_affect_other_clients(server, secret):
    for part in (question(secret), question(secret)[:40], verification(secret, framing="Content-Length: 500\r\n")):
        for _ in range(10):
            with connect(server) as client:
                client.sendall(part)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert status_of(exchange(server, question(secret, extra="Connection: close\r\n"))) == 200


def test_idle_and_incomplete_requests_do_not_block_threads(server, secret):
    """There are far more of them than threads, but decisions and pages don't wait for them."""
    with ExitStack() as stack:
        for number in range(60):
            client = stack.enter_context(connect(server))
            if number % 3:
                client.sendall(question(secret)[:-20] if number % 3 == 1 else incomplete_form())
        assert status_of(exchange(server, question(secret, extra="Connection: close\r\n"))) == 200
        assert call(server.port, path="/admin/login/", timeout=20).status == 302


def incomplete_form():
    return (
        b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 1000\r\n\r\nlogin="
    )


def test_oversized_form_is_rejected_before_a_thread_reads_it(server):
    head = (
        b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with connect(server) as client:
        client.sendall(head)
        chunk = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
        try:
            for _ in range(12):
                client.sendall(chunk)
        except (ConnectionError, TimeoutError):
            pass  # it was rejected before all of it was sent
        assert status_of(receive(client)) in {413, None}
    assert call(server.port, path="/livez").status == 200
