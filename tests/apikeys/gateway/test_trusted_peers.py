"""Only trusted gateways are answered, and an internal error is a 503, never an allowed request."""

from __future__ import annotations

import json
import logging
import socket

import pytest
from django.db import connection

from apikeys.decision import statements
from apikeys.models import KeyUsage
from tests.apikeys.gateway.asgi import ask_asgi
from tests.apikeys.gateway.servers import gatehouse

ENDPOINTS = ["/authz/nginx", "/authz/traefik", "/authz/caddy", "/authz/envoy/orders", "/authz/openapi.json", "/authz/x"]


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("peer", ["203.0.113.5", "10.0.0.1", "", "2001:db8::1", "nonsense"])
def test_untrusted_peer_is_denied_despite_forged_headers(client, path, peer):
    claims = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    response = client.get(path, REMOTE_ADDR=peer, headers=claims)
    assert (response.status_code, response["Content-Type"]) == (403, "application/problem+json")


@pytest.mark.parametrize("path", ["/authz/verify", "/authz/usage"])
def test_untrusted_peer_is_denied_by_json_endpoints(client, path):
    response = client.post(path, "{}", content_type="application/json", REMOTE_ADDR="203.0.113.5")
    assert response.status_code == 403


@pytest.mark.django_db(transaction=True)
def test_denied_peer_is_logged_once(caplog):
    status, _, _ = ask_asgi("/authz/verify", method="POST", body=b"{}", peer="203.0.113.5")
    assert status == "403 Forbidden"
    assert caplog.messages == ["A peer that is not a trusted gateway asked /authz/verify"]


@pytest.mark.parametrize(
    ("trusted", "peer", "expected"),
    [
        (["127.0.0.0/8"], "127.0.0.1", 401),
        (["::1/128"], "::1", 401),
        (["10.0.0.0/8"], "10.1.2.3", 401),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", 401),
        (["10.0.0.0/8"], "11.0.0.1", 403),
        (["2001:db8::/32"], "2001:db8::5", 401),
        ([], "127.0.0.1", 403),
        (["unix:"], "", 401),
        (["unix:"], "127.0.0.1", 403),
        (["127.0.0.0/8", "0.0.0.0/0", "::/0"], "", 403),
        (["nonsense"], "127.0.0.1", 403),
    ],
)
def test_trusted_networks_are_configurable(ask, client, settings, trusted, peer, expected):
    settings.GATEWAY_TRUSTED = trusted
    headers = {"X-Original-Method": "GET", "X-Original-URI": "/orders"}
    assert client.get("/authz/nginx", REMOTE_ADDR=peer, headers=headers).status_code == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s3cret", 401),
        (None, 403),
        ("", 403),
        ("S3cret", 403),
        ("s3cret ", 403),
        ("s\xe9cret", 403),
        ("s3cret,s3cret", 403),
    ],
)
def test_gateway_secret_is_required_if_set(ask, settings, given, expected):
    settings.GATEWAY_SECRET = "s3cret"
    assert ask(None, **{"X-Gateway-Secret": given}).status_code == expected


def test_gateway_secret_does_not_replace_a_trusted_address(client, settings):
    settings.GATEWAY_SECRET = "s3cret"
    headers = {"X-Gateway-Secret": "s3cret", "X-Original-Method": "GET", "X-Original-URI": "/"}
    assert client.get("/authz/nginx", REMOTE_ADDR="203.0.113.5", headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/authz/verify", "/authz/usage"])
def test_json_endpoints_only_allow_post(client, path):
    for ask in (client.get, client.put, client.delete, client.head, client.options):
        response = ask(path)
        assert (response.status_code, response["Allow"]) == (405, "POST")


@pytest.mark.django_db(transaction=True)
def test_database_error_is_503_with_a_logged_id(ask, client, key, caplog):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE key_permissions RENAME TO elsewhere")
    try:
        with caplog.at_level(logging.ERROR, "apikeys.gateway.endpoints"):
            response = ask(key.secret)
            question = json.dumps({"key": key.secret, "method": "GET", "path": "/orders"})
            verified = client.post("/authz/verify", question, content_type="application/json")
            seen = client.get("/api/v1/whoami", headers={"X-API-Key": key.secret})
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO key_permissions")
    for answer in (response, verified, seen):
        assert answer.status_code == 503
        assert answer.json()["id"] in caplog.text
        assert "key_permissions" not in answer.content.decode()
    assert key.secret not in caplog.text
    assert ask(key.secret).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_request_is_denied_if_its_row_cannot_be_written(ask, key):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE key_usage RENAME TO elsewhere")
    try:
        assert ask(key.secret).status_code == 503
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO key_usage")
    assert not KeyUsage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_closed_connection_is_replaced(ask, key):
    assert ask(key.secret).status_code == 200
    in_use = statements.impatient_connection(connection) if connection.vendor == "sqlite" else connection.connection
    in_use.close()
    assert ask(key.secret).status_code == 200


def ask_over(path, secret):
    """Ask over a unix socket; returns the status."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        lines = ("GET /authz/nginx HTTP/1.1", "Host: gatehouse", "Connection: close", f"X-API-Key: {secret}")
        original = ("X-Original-Method: GET", "X-Original-URI: /orders", "", "")
        client.sendall("\r\n".join(lines + original).encode())
        return int(client.makefile("rb").readline().split()[1])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("trusted", "expected"), [("unix:", 200), ("127.0.0.0/8", 403)])
def test_unix_socket_is_trusted_only_if_configured(key, tmp_path, trusted, expected):
    path = tmp_path / "g.sock"
    with gatehouse(tmp_path, "-b", f"unix:{path}", GATEWAY_TRUSTED=trusted):
        assert ask_over(path, key.secret) == expected
