"""A method is any token as in RFC 9110 and is compared as sent, by gateways and services alike."""

from __future__ import annotations

import pytest

from apikeys.gateway.dialects import request_from_envoy
from apikeys.models import KeyUsage
from ratelimits.models import RateLimit
from tests.apikeys.conftest import ask_as, make_key

UNREGISTERED = ["VERSION-CONTROL", "UPDATEREDIRECTREF", "M-SEARCH", "PURGE", "get", "Get", "pOST", "X!#$%&'*+.^_`|~1"]
INVALID = ["", "GET /", "GET\t", "GE T", "GET\x00", "GÉT", "(GET)", '"GET"', "GET,POST", "G" * 33, "G" * 300]


@pytest.fixture
def reader(alice, counters):
    return make_key(alice, allow=["read *"])


@pytest.mark.parametrize("method", UNREGISTERED)
def test_verify_accepts_any_method(verify, key, method):
    answer = verify(key=key.secret, method=method, path="/orders")
    assert (answer["status"], answer["allowed"]) == (200, True)
    assert KeyUsage.objects.get().method == method


@pytest.mark.parametrize("method", UNREGISTERED)
@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy", "envoy"])
def test_gateways_can_ask_about_any_method(client, key, dialect, method):
    if dialect == "envoy":
        method = method.upper()  # as the test client sends it
    assert ask_as(client, dialect, key, method=method).status_code == 200
    assert KeyUsage.objects.get().method == method


@pytest.mark.parametrize("method", ["get", "Get", "head", "Options", "PURGE"])
def test_methods_are_case_sensitive(verify, client, reader, method):
    answer = verify(key=reader.secret, method=method, path="/orders")
    assert (answer["status"], answer["reason"]) == (403, "permission_denied")
    assert ask_as(client, "nginx", reader, method=method).status_code == 403
    assert ask_as(client, "caddy", reader, method=method).status_code == 403


def test_limit_for_a_method_is_case_sensitive(verify, key, free):
    RateLimit.objects.create(tier=free, name="writes", path="/orders", method="POST", limit=1, period=60)
    for method in ("post", "post", "Post", "POST"):
        assert verify(key=key.secret, method=method, path="/orders")["allowed"], method
    assert verify(key=key.secret, method="POST", path="/orders")["reason"] == "rate_limited"


@pytest.mark.parametrize("method", [*INVALID, 5, ["GET"], True])
def test_verify_rejects_an_invalid_method(client, key, method):
    question = {"key": key.secret, "method": method, "path": "/orders"}
    response = client.post("/authz/verify", question, content_type="application/json")
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert "method must be an HTTP method: 1 to 32 letters" in response.json()["detail"]
    assert not KeyUsage.objects.exists()


@pytest.mark.parametrize("method", [method for method in INVALID if "\x00" not in method])
@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy"])
def test_gateway_with_an_invalid_method_is_denied(client, key, dialect, method):
    response = ask_as(client, dialect, key, method=method)
    assert (response.status_code, response.json()["detail"]) == (403, "The gateway didn't describe the request.")
    assert not KeyUsage.objects.exists()


def test_envoy_method_is_read_as_sent(key):
    environ = {"REQUEST_METHOD": "get", "RAW_URI": "/authz/envoy/orders"}
    assert request_from_envoy(environ).method == "get"
