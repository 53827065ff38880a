"""Gateways are handled in the event loop, everything else by Django, and old database connections are closed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading

import pytest
from django.db import connection

from apikeys.gateway import endpoints
from apikeys.gateway.asgi import IS_CLOSED, environ_of, gateways_first
from apikeys.models import KeyUsage
from config import threads
from config.middleware import MACHINE_HEADERS
from config.threads import in_threads
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.asgi import ask_asgi, scope_of
from tests.rows import make_limit
from tiers.models import Tier

pytestmark = pytest.mark.django_db(transaction=True)


def orders(key):
    return [("X-API-Key", key.secret), ("X-Original-Method", "GET"), ("X-Original-URI", "/orders/7")]


def test_allowed_response_has_owner_and_limits(key, alice):
    status, headers, body = ask_asgi("/authz/nginx", orders(key))
    assert (status, body) == ("200 OK", b"ok\n")
    assert headers["X-Auth-Username"] == alice.username
    assert headers["X-Auth-Event-Id"] == str(KeyUsage.objects.get().pk)
    assert headers["RateLimit"] == '"default";r=99;t=1'
    assert (headers["Content-Type"], headers["Content-Length"]) == ("text/plain", "3")
    assert headers["Cache-Control"] == "no-store"


def test_request_without_key_uses_the_anonymous_tier(counters, settings):
    settings.ANONYMOUS_TIER = "public"
    make_limit(Tier.objects.create(name="public"), "/orders/{id}", name="public orders", limit=1, period=60)
    asked = [("X-Original-Method", "GET"), ("X-Original-URI", "/orders/7"), ("X-Real-IP", "203.0.113.9")]
    status, headers, _ = ask_asgi("/authz/nginx", asked)
    assert (status, headers["RateLimit"]) == ("200 OK", '"public orders";r=0;t=60')
    status, headers, _ = ask_asgi("/authz/nginx", asked)
    assert (status, headers["X-Auth-Status"]) == ("403 Forbidden", "429")


@pytest.mark.parametrize(
    ("path", "peer", "status"),
    [
        ("/authz/nginx", "127.0.0.1", "403 Forbidden"),
        ("/authz/nginx", "203.0.113.5", "403 Forbidden"),
        ("/authz/", "127.0.0.1", "404 Not Found"),
        ("/authz/verify", "127.0.0.1", "405 Method Not Allowed"),
    ],
)
def test_denied_response_is_a_problem_with_content_length(path, peer, status):
    answered, headers, body = ask_asgi(path, peer=peer)
    assert answered == status
    assert headers["Content-Type"] == "application/problem+json"
    assert int(headers["Content-Length"]) == len(body)


def test_response_is_the_same_as_through_django(client, key):
    sent = dict(orders(key))
    through_django = client.get("/authz/nginx", headers=sent)
    _, headers, body = ask_asgi("/authz/nginx", orders(key))
    assert {name.title() for name in headers} == {name.title() for name in through_django.headers}
    assert body == through_django.content


def test_other_paths_are_passed_to_django():
    assert ask_asgi("/livez")[0] == "200 OK"
    passed_on = []

    async def elsewhere(scope, receive, send):
        passed_on.append(scope["path"])

    asyncio.run(gateways_first(elsewhere, None, None)({"type": "http", "path": "/authz"}, None, None))
    assert passed_on == ["/authz"]


def test_old_connection_is_closed_after_the_response(key):
    found = []

    def age():
        connection.ensure_connection()
        connection.close_at = 0  # as if CONN_MAX_AGE were over

    ask_asgi("/authz/nginx", orders(key), before=age, after=lambda: found.append(connection.connection))
    ask_asgi("/authz/nginx", orders(key), after=lambda: found.append(connection.connection))
    assert found[0] is None
    assert found[1] is not None


def test_broken_connection_is_closed_after_the_response(key, monkeypatch):
    found = []

    def break_it():
        connection.ensure_connection()
        connection.errors_occurred = True
        connection.is_usable = lambda: False

    ask_asgi("/authz/nginx", orders(key), before=break_it, after=lambda: found.append(connection.connection))
    assert found == [None]


def test_underscore_in_header_name_does_not_count_as_hyphen():
    environ = environ_of(scope_of("/authz/nginx", [("X_Real_IP", "10.0.0.1"), ("X-Real-IP", "203.0.113.9")]))
    assert environ["HTTP_X_REAL_IP"] == "203.0.113.9"
    assert "" not in environ


def test_repeated_header_is_joined(key):
    twice = [("X-API-Key", key.secret), ("X-API-Key", key.secret), *orders(key)[1:]]
    assert ask_asgi("/authz/nginx", twice)[1]["X-Auth-Reason"] == "malformed_key"


@pytest.mark.parametrize(("path", "name"), [("nginx", "X-Original-URI"), ("caddy", "X-Forwarded-Uri")])
def test_repeated_uri_is_ambiguous(alice, counters, path, name):
    """As from a gateway that adds its header to the client's instead of replacing it."""
    key = make_key(alice, allow=["read /public/*"])
    method = ("X-Forwarded-Method" if path == "caddy" else "X-Original-Method", "GET")
    headers = [("X-API-Key", key.secret), method, (name, "/public/a"), (name, "/admin")]
    status, answer, _ = ask_asgi(f"/authz/{path}", headers)
    assert (status, answer["X-Auth-Reason"]) == ("403 Forbidden", "ambiguous_path")


def test_allowed_and_denied_responses_have_security_headers(key):
    _, allowed, _ = ask_asgi("/authz/nginx", orders(key))
    _, denied, _ = ask_asgi("/authz/nginx", orders(key)[1:])
    assert denied["X-Auth-Reason"] == "missing_key"
    assert all(allowed[name] == denied[name] == value for name, value in MACHINE_HEADERS)


def json_of(answer):
    return json.loads(answer[2])


JSON = [("Content-Type", "application/json")]


def test_json_endpoints_work_in_the_event_loop(key):
    question = {"key": key.secret, "method": "GET", "path": "/orders"}
    verdict = json_of(ask_asgi("/authz/verify", JSON, method="POST", body=json.dumps(question).encode()))
    assert verdict["allowed"] is True
    report = [{"event_id": verdict["event_id"], "status_code": 204}]
    result = json_of(ask_asgi("/authz/usage", JSON, method="POST", body=json.dumps(report).encode()))
    assert result == {"recorded": 1, "unchanged": 0, "unknown": []}
    assert KeyUsage.objects.get().status_code == 204


def test_incomplete_and_oversized_bodies_are_rejected(key):
    assert ask_asgi("/authz/verify", JSON, method="POST", body=[b'{"key": ', b'"a']) is None
    status, _, _ = ask_asgi("/authz/verify", JSON, method="POST", body=[b"x" * 40_000] * 3)
    assert status == "413 Request Entity Too Large"
    assert KeyUsage.objects.count() == 0


def test_absolute_target_is_reduced_to_its_path(key):
    assert ask_asgi("http://elsewhere.example/authz/nginx", orders(key))[0] == "200 OK"


def test_disconnected_client_gets_no_decision(key):
    gone = {"extensions": {IS_CLOSED: lambda: True}}
    assert ask_asgi("/authz/nginx", orders(key), **gone)[0] == "503 Service Unavailable"
    assert KeyUsage.objects.count() == 0


def fail(*arguments):
    raise ZeroDivisionError


def test_any_error_gives_503(key, monkeypatch):
    broken = endpoints.Endpoint(fail)
    monkeypatch.setitem(endpoints.ROUTES, "/authz/caddy", broken)
    assert ask_asgi("/authz/caddy", orders(key))[0] == "503 Service Unavailable"
    monkeypatch.setattr("apikeys.gateway.dialects.approval", fail)
    assert ask_asgi("/authz/nginx", orders(key))[0] == "503 Service Unavailable"
    assert KeyUsage.objects.count() == 1


# --- Pages -----------------------------------------------------------------------------------------------------------


def test_page_gets_complete_body_and_safe_names():
    """The query is in ASCII, underscores in header names don't count as hyphens, and RAW_URI is the target as sent."""
    seen = {}

    def page(environ, start_response):
        seen.update(environ, body=environ["wsgi.input"].read())
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    headers = [("X_Forwarded_For", "10.0.0.1"), ("X-Forwarded-For", "203.0.113.9")]
    body = b"a" * 100_000
    scope = {"query_string": b"next=\xff&a=%20b", "raw_path": b"/a%2Fb", "method": "POST"}
    assert ask_asgi("/a/b", headers, body=body, pages=in_threads(page), **scope)[0] == "200 OK"
    assert seen["body"] == body
    assert seen["QUERY_STRING"] == "next=%FF&a=%20b"
    assert seen["RAW_URI"] == "/a%2Fb?next=%FF&a=%20b"
    assert seen["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of single threads")
def test_pages_give_way_to_decisions():
    seen = []

    def page(environ, start_response):
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert ask_asgi("/users/", pages=in_threads(page))[0] == "200 OK"
    assert seen == [min(before + threads.NICENESS, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_incomplete_and_oversized_forms_do_not_reach_pages(monkeypatch):
    monkeypatch.setattr(threads, "MAX_BODY_BYTES", 100)
    pages = in_threads(fail)
    assert ask_asgi("/users/", body=[b"a" * 50], pages=pages)[0] == "400 Bad Request"
    assert ask_asgi("/users/", body=b"a" * 101, pages=pages)[0] == "413 Request Entity Too Large"


def test_websockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(in_threads(fail)({"type": "websocket"}, None, send))
    assert sent == ["websocket.close"]
