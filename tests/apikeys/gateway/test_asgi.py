"""Gateways are answered in the event loop; everything else goes on to Django; and no connection outlives its use."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection

from apikeys.gateway.asgi import environ_of, gateways_first
from apikeys.models import KeyUsage
from config.middleware import MACHINE_HEADERS
from tests.apikeys.gateway.asgi import ask_asgi, scope_of

pytestmark = pytest.mark.django_db(transaction=True)


def orders(key):
    return [("X-API-Key", key.secret), ("X-Original-Method", "GET"), ("X-Original-URI", "/orders/7")]


def test_a_yes_names_the_holder_and_what_is_left(key, alice):
    status, headers, body = ask_asgi("/authz/nginx", orders(key))
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
    answered, headers, body = ask_asgi(path, peer=peer)
    assert answered == status
    assert headers["Content-Type"] == "application/problem+json"
    assert int(headers["Content-Length"]) == len(body)


def test_the_same_answer_as_through_django(client, key):
    sent = dict(orders(key))
    through_django = client.get("/authz/nginx", headers=sent)
    _, headers, body = ask_asgi("/authz/nginx", orders(key))
    assert {name.title() for name in headers} == {name.title() for name in through_django.headers}
    assert body == through_django.content


def test_everything_else_goes_on_to_django():
    assert ask_asgi("/livez")[0] == "200 OK"
    passed_on = []

    async def elsewhere(scope, receive, send):
        passed_on.append(scope["path"])

    asyncio.run(gateways_first(elsewhere, None)({"type": "http", "path": "/authz"}, None, None))
    assert passed_on == ["/authz"]


def test_an_old_connection_is_closed_after_the_answer(key):
    found = []

    def age():
        connection.ensure_connection()
        connection.close_at = 0  # as if CONN_MAX_AGE were over

    ask_asgi("/authz/nginx", orders(key), before=age, after=lambda: found.append(connection.connection))
    ask_asgi("/authz/nginx", orders(key), after=lambda: found.append(connection.connection))
    assert found[0] is None
    assert found[1] is not None


def test_a_connection_that_broke_is_closed_after_the_answer(key, monkeypatch):
    found = []

    def break_it():
        connection.ensure_connection()
        connection.errors_occurred = True
        connection.is_usable = lambda: False

    ask_asgi("/authz/nginx", orders(key), before=break_it, after=lambda: found.append(connection.connection))
    assert found == [None]


def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_hyphen():
    environ = environ_of(scope_of("/authz/nginx", [("X_Real_IP", "10.0.0.1"), ("X-Real-IP", "203.0.113.9")]))
    assert environ["HTTP_X_REAL_IP"] == "203.0.113.9"
    assert "" not in environ


def test_a_header_that_comes_twice_is_joined(key):
    twice = [("X-API-Key", key.secret), ("X-API-Key", key.secret), *orders(key)[1:]]
    assert ask_asgi("/authz/nginx", twice)[1]["X-Auth-Reason"] == "malformed_key"


def test_yes_and_no_have_the_security_headers(key):
    _, allowed, _ = ask_asgi("/authz/nginx", orders(key))
    _, denied, _ = ask_asgi("/authz/nginx", orders(key)[1:])
    assert denied["X-Auth-Reason"] == "missing_key"
    assert all(allowed[name] == denied[name] == value for name, value in MACHINE_HEADERS)
