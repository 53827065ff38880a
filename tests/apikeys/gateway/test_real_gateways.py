"""Real nginx, Caddy and Envoy with the published configurations, Gatehouse under gunicorn, and an upstream that echoes."""

from __future__ import annotations

import pytest

from apikeys.models import KeyUsage
from apikeys.secrets import new_secret
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import call, gateway_and_gatehouse

pytestmark = [pytest.mark.gateway, pytest.mark.django_db(transaction=True)]

SECRET = "between-us"
FORGED = {
    "X-Auth-User-Id": "1",
    "X-Auth-Username": "root",
    "X-Auth-Tier": "gold",
    "X-Auth-Key-Id": "forged",
    "X-Auth-Event-Id": "forged",
    "X-Auth-Status": "200",
    "X_Auth_User_Id": "1",
    "X_Auth_Username": "root",
    "X-Original-URI": "/public",
    "X-Original-Method": "GET",
    "X-Forwarded-Uri": "/public",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-For": "192.0.2.99",
    "X-Real-IP": "192.0.2.99",
    "Forwarded": "for=192.0.2.99",
    "X-Gateway-Secret": "guess",
}


@pytest.fixture(params=["nginx", "caddy", "envoy"])
def stack(request, tmp_path, echo, counters):
    """(the gateway's port, Gatehouse's process)"""
    echo.arrived.clear()
    with gateway_and_gatehouse(request.param, tmp_path, echo, secret=SECRET) as servers:
        yield servers


def test_gateway_works_as_documented(stack, echo, alice):
    # One test, because starting the servers takes seconds and requests take milliseconds.
    front, _ = stack
    check_allowed_request(front, echo, alice)
    check_forged_headers(front, alice)
    check_bodies_and_methods(front, echo, alice)
    check_denials(front, alice)
    check_rate_limit(front, alice)
    check_ambiguous_paths(front, echo, alice)
    check_upstream_errors(front, alice)


def identity(answer):
    return {name: value for name, value in answer.json()["headers"] if name.lower().startswith("x-auth-")}


def check_allowed_request(front, echo, alice):
    key = make_key(alice)
    answer = call(front.port, path="/orders/7?page=2", headers={"X-API-Key": key.secret, "User-Agent": "curl/8"})
    assert answer.status == 200, answer.body
    event = KeyUsage.objects.get(api_key=key)
    found = {name.lower(): value for name, value in identity(answer).items()}
    assert found["x-auth-user-id"] == str(alice.pk)
    assert found["x-auth-username"] == "alice"
    assert found["x-auth-tier"] == "free"
    assert found["x-auth-key-id"] == str(key.pk)
    assert found["x-auth-event-id"] == str(event.pk)
    assert answer.json()["path"] == "/orders/7?page=2"
    assert (event.endpoint, event.method, event.ip_address) == ("/orders/7", "GET", "127.0.0.1")
    assert event.user_agent == "curl/8"
    assert call(front.port, path="/orders", headers={"Authorization": f"Bearer {key.secret}"}).status == 200


def check_forged_headers(front, alice):
    key = make_key(alice, allow=["read /orders"])
    answer = call(front.port, path="/orders", headers={**FORGED, "X-API-Key": key.secret})
    assert answer.status == 200, answer.body
    arrived = [(name.lower().replace("_", "-"), value) for name, value in answer.json()["headers"]]
    values = {value for name, value in arrived if name.startswith("x-auth-")}
    assert not values & {"root", "gold", "forged"}
    assert sorted(value for name, value in arrived if name == "x-auth-user-id") == [str(alice.pk)]
    # Clients can't change the path or address that is checked either.
    refused = call(front.port, path="/secret", headers={**FORGED, "X-API-Key": key.secret})
    assert refused.status == 403
    event = KeyUsage.objects.filter(api_key=key).latest("pk")
    assert (event.endpoint, event.ip_address) == ("/secret", "127.0.0.1")
    assert call(front.port, path="/orders", headers=FORGED).status == 401


def check_bodies_and_methods(front, echo, alice):
    key = make_key(alice)
    sent = {"X-API-Key": key.secret, "Content-Type": "text/plain"}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = call(front.port, method, "/orders", sent, "x" * 100_000)
        assert (answer.status, answer.json()["method"], len(answer.json()["body"])) == (200, method, 100_000)
    chunked = call(front.port, "POST", "/orders", {**sent, "Transfer-Encoding": "chunked"}, [b"one", b"two"])
    assert (chunked.status, chunked.json()["body"]) == (200, "onetwo")
    head = call(front.port, "HEAD", "/orders", sent)
    assert (head.status, head.body) == (200, b"")
    assert echo.arrived[-1]["method"] == "HEAD"
    recorded = set(KeyUsage.objects.filter(api_key=key).values_list("method", flat=True))
    assert recorded == {"POST", "PUT", "PATCH", "DELETE", "HEAD"}


def check_denials(front, alice):
    missing = call(front.port, path="/orders")
    assert missing.status == 401
    assert missing.headers.get_all("WWW-Authenticate") == ['Bearer realm="api"']
    assert missing.json()["reason"] == "missing_key"
    unknown = call(front.port, path="/orders", headers={"X-API-Key": new_secret()})
    assert (unknown.status, unknown.json()["reason"]) == (401, "unknown_key")
    assert 'error="invalid_token"' in unknown.headers["WWW-Authenticate"]
    for wrong in ({"X-API-Key": "nonsense"}, {"X-API-Key": [new_secret(), new_secret()]}):
        assert call(front.port, path="/orders", headers=wrong).status == 401
    in_query = call(front.port, path=f"/orders?api_key={make_key(alice).secret}")
    assert (in_query.status, in_query.json()["reason"]) == (401, "malformed_key")
    reader = make_key(alice, allow=["read *"])
    denied = call(front.port, "POST", "/orders", {"X-API-Key": reader.secret}, "body")
    assert (denied.status, denied.json()["reason"]) == (403, "permission_denied")
    for answer in (missing, unknown, denied):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json()["status"] == answer.status
        assert "alice" not in answer.body.decode() + str(answer.headers)


def check_rate_limit(front, alice):
    key = make_key(alice, rate_limit=1, rate_period=60)
    allowed = call(front.port, path="/orders", headers={"X-API-Key": key.secret})
    assert allowed.status == 200
    # When a request is allowed, Caddy 2.6 doesn't pass these headers to the client.
    assert front.kind == "caddy" or '"key";q=1;w=60' in allowed.headers["RateLimit-Policy"]
    refused = call(front.port, path="/orders", headers={"X-API-Key": key.secret})
    assert refused.status == 429, refused.body
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert '"key";r=0' in refused.headers["RateLimit"]
    assert '"key";q=1;w=60' in refused.headers["RateLimit-Policy"]
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert (refused.json()["status"], refused.json()["reason"]) == (429, "rate_limited")
    assert KeyUsage.objects.filter(api_key=key, status_code=429).count() == 1


def check_ambiguous_paths(front, echo, alice):
    key = make_key(alice)
    echo.arrived.clear()
    for path in ("/api/a%2Fb/../c?x=1", "/a/%2e%2e/b", "/a%5cb", "/a%252fb", "/a;x=1", "/a%3bx", "/a#/../b"):
        answer = call(front.port, path=path, headers={"X-API-Key": key.secret})
        assert answer.status in {400, 403}, (path, answer.status)
        assert not echo.arrived, path
    plain = call(front.port, path="/a%20b/%C3%A9?q=%2F", headers={"X-API-Key": key.secret})
    assert plain.status == 200
    assert KeyUsage.objects.filter(api_key=key, endpoint="/a b/é").exists()


def check_upstream_errors(front, alice):
    key = make_key(alice)
    for status in (404, 401, 403, 500):
        answer = call(front.port, path=f"/status/{status}", headers={"X-API-Key": key.secret})
        assert answer.status == status
        assert answer.json()["path"] == f"/status/{status}"


def test_requests_are_denied_while_gatehouse_is_down(stack, echo, alice):
    front, behind = stack
    key = make_key(alice)
    assert call(front.port, path="/orders", headers={"X-API-Key": key.secret}).status == 200
    behind.terminate()
    behind.wait(60)
    echo.arrived.clear()
    for headers in ({"X-API-Key": key.secret}, {}):
        answer = call(front.port, path="/orders", headers=headers)
        assert answer.status == 503
    assert not echo.arrived


def test_gateway_with_the_wrong_secret_denies_every_request(tmp_path, echo, counters, alice):
    key = make_key(alice)
    echo.arrived.clear()
    with gateway_and_gatehouse("nginx", tmp_path, echo, secret=SECRET, sent_secret="wrong") as (front, _):
        assert call(front.port, path="/orders", headers={"X-API-Key": key.secret}).status == 403
        assert not echo.arrived
