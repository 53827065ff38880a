"""No request header changes the path, peer or scheme of a request, over TCP or a unix socket."""

from __future__ import annotations

import socket

import pytest

from tests.apikeys.gateway.servers import free_port, gatehouse

FORGED = [
    "SCRIPT_NAME: /authz/envoy",
    "PATH_INFO: /livez",
    "Script-Name: /authz/envoy",
    "X-Script-Name: /authz/envoy",
    "X-Forwarded-Prefix: /authz/envoy",
    "RAW_URI: /livez",
    "REQUEST_METHOD: GET",
    "REMOTE_ADDR: 127.0.0.1",
    "REMOTE_USER: admin",
    "QUERY_STRING: x=1",
    "wsgi.url_scheme: https",
    "X-HTTP-Method-Override: GET",
]


def send(address, *lines):
    """Send raw request lines over TCP (host, port) or a unix socket (path) and return the response."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as client:
        client.settimeout(60)
        client.connect(address)
        client.sendall("\r\n".join([*lines, "Host: localhost", "Connection: close", "", ""]).encode())
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    return received.decode("latin-1")


@pytest.fixture(scope="module")
def unix_gatehouse(tmp_path_factory, django_db_setup, django_db_blocker):
    folder = tmp_path_factory.mktemp("unix")
    path, port = folder / "gatehouse.sock", free_port()
    with (
        django_db_blocker.unblock(),
        gatehouse(folder, "-b", f"unix:{path}", port=port, GATEWAY_TRUSTED="127.0.0.0/8,unix:"),
    ):
        yield {"unix": str(path), "tcp": ("127.0.0.1", port)}


@pytest.mark.parametrize("header", FORGED)
@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_header_does_not_change_the_path(unix_gatehouse, over, header):
    answer = send(unix_gatehouse[over], "GET /authz/envoy/livez HTTP/1.1", header)
    assert answer.startswith("HTTP/1.1 401 "), answer[:200]
    assert "missing_key" in answer


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_header_does_not_lead_to_a_gateway_endpoint(unix_gatehouse, over):
    answer = send(unix_gatehouse[over], "GET /orders HTTP/1.1", "SCRIPT_NAME: /authz", "PATH_INFO: /authz/envoy/orders")
    assert answer.startswith("HTTP/1.1 404 "), answer[:200]


@pytest.mark.parametrize("header", ["X-Forwarded-Proto: https", "X-Forwarded-Protocol: ssl", "X-Forwarded-SSL: on"])
@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_header_does_not_change_the_scheme(unix_gatehouse, over, header):
    answer = send(unix_gatehouse[over], "GET /accounts/login/ HTTP/1.1", header)
    assert answer.startswith("HTTP/1.1 200 "), answer[:200]
    assert "strict-transport-security" not in answer.lower()


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_proxy_protocol_line_is_rejected(unix_gatehouse, over):
    answer = send(unix_gatehouse[over], "PROXY TCP4 127.0.0.1 127.0.0.1 1 2", "GET /livez HTTP/1.1")
    assert answer.startswith("HTTP/1.1 400 "), answer[:200]
