"""Gateways are answered before Django's handler; all other requests reach it; and no connection is left open."""

from __future__ import annotations

import sys
from io import BytesIO

import pytest
from django.db import connection

from apikeys.gateway.wsgi import gateways_first
from apikeys.models import KeyUsage
from config.middleware import MACHINE_HEADERS
from config.wsgi import application

pytestmark = pytest.mark.django_db(transaction=True)


def ask_wsgi(path, headers=(), app=application, **environ):
    """Call a WSGI application like gunicorn; returns status, headers, body."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers},
        **environ,
    }
    told = []
    body = b"".join(app(environ, lambda status, sent: told.extend((status, dict(sent)))))
    return told[0], told[1], body


def orders(key):
    return [("X-API-Key", key.secret), ("X-Original-Method", "GET"), ("X-Original-URI", "/orders/7")]


def test_a_yes_names_the_holder_and_what_is_left(key, alice):
    status, headers, body = ask_wsgi("/authz/nginx", orders(key))
    assert (status, body) == ("200 OK", b"ok\n")
    assert headers["X-Auth-Username"] == alice.username
    assert headers["X-Auth-Event-Id"] == str(KeyUsage.objects.get().pk)
    assert headers["RateLimit"] == '"default";r=99;t=1'
    assert (headers["Content-Type"], headers["Content-Length"]) == ("text/plain", "3")
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "peer", "status"),
    [
        ("/authz/nginx", "127.0.0.1", "403 Forbidden"),
        ("/authz/nginx", "203.0.113.5", "403 Forbidden"),
        ("/authz/", "127.0.0.1", "404 Not Found"),
        ("/authz/verify", "127.0.0.1", "405 Method Not Allowed"),
    ],
)
def test_a_no_is_a_problem_with_its_length(path, peer, status):
    answered, headers, body = ask_wsgi(path, REMOTE_ADDR=peer)
    assert answered == status
    assert headers["Content-Type"] == "application/problem+json"
    assert int(headers["Content-Length"]) == len(body)


def test_the_same_answer_as_through_django(client, key):
    sent = dict(orders(key))
    through_django = client.get("/authz/nginx", headers=sent)
    _, headers, body = ask_wsgi("/authz/nginx", orders(key))
    assert headers.keys() == through_django.headers.keys()
    assert body == through_django.content


def test_what_is_no_gateways_goes_on_to_django():
    assert ask_wsgi("/livez")[0] == "200 OK"
    assert gateways_first(lambda environ, start_response: ["elsewhere"])({"PATH_INFO": "/authz"}, None) == ["elsewhere"]


def test_an_old_connection_is_closed_after_the_answer(key):
    ask_wsgi("/authz/nginx", orders(key))
    assert connection.connection is not None
    connection.close_at = 0  # as if CONN_MAX_AGE had passed
    ask_wsgi("/authz/nginx", orders(key))
    assert connection.connection is None


def test_a_connection_that_broke_is_closed_after_the_answer(key, monkeypatch):
    connection.ensure_connection()
    connection.errors_occurred = True
    monkeypatch.setattr(connection, "is_usable", lambda: False)
    ask_wsgi("/authz/nginx", orders(key))
    assert connection.connection is None


def test_yes_and_no_have_the_security_headers(key):
    _, allowed, _ = ask_wsgi("/authz/nginx", orders(key))
    _, denied, _ = ask_wsgi("/authz/nginx", orders(key)[1:])
    assert denied["X-Auth-Reason"] == "missing_key"
    assert set(MACHINE_HEADERS) <= set(allowed.items()) & set(denied.items())
