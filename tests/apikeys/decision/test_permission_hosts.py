"""A permission with a host only covers requests to that host, in every dialect."""

from __future__ import annotations

import pytest
from django.http import JsonResponse
from django.urls import path

from apikeys.gateway.decorators import require_key
from apikeys.models import KeyUsage
from tests.apikeys.conftest import make_key

pytestmark = pytest.mark.usefixtures("counters")

LIVE = "read /orders at api.example.com"
urlpatterns = [path("orders", require_key()(lambda request: JsonResponse({})))]


@pytest.fixture
def live_key(alice):
    return make_key(alice, allow=[LIVE])


def ask_for_host(client, dialect, host, secret):
    """The status of GET /orders at `host`."""
    headers = {"X-API-Key": secret}
    if dialect == "verify":
        question = {"key": secret, "method": "GET", "path": "/orders", "host": host}
        return client.post("/authz/verify", question, content_type="application/json").json()["status"]
    if dialect == "envoy":
        return client.get("/authz/envoy/orders", headers=headers | {"Host": host}).status_code
    if dialect == "decorator":
        return client.get("/orders", headers=headers | {"Host": host}).status_code
    name, uri = ("X-Original", "URI") if dialect == "nginx" else ("X-Forwarded", "Uri")
    description = {f"{name}-Method": "GET", f"{name}-{uri}": "/orders", f"{name}-Host": host}
    return client.get(f"/authz/{dialect}", headers=headers | description).status_code


@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy", "envoy", "verify", "decorator"])
def test_host_is_read_in_every_dialect(client, live_key, settings, dialect):
    settings.ROOT_URLCONF, settings.ALLOWED_HOSTS = __name__, ["*"]
    assert ask_for_host(client, dialect, "API.example.com:8443", live_key.secret) == 200
    assert ask_for_host(client, dialect, "sandbox.example.com", live_key.secret) == 403
    events = KeyUsage.objects.order_by("pk").values_list("host", "reason")
    assert list(events) == [("api.example.com", ""), ("sandbox.example.com", "permission_denied")]


FORGED = {
    "Host": "api.example.com",
    "X-Original-Host": "api.example.com",
    "X-Forwarded-Host": "api.example.com",
    "Forwarded": "host=api.example.com",
}


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("/authz/nginx", "X-Original-Host"),
        ("/authz/traefik", "X-Forwarded-Host"),
        ("/authz/caddy", "X-Forwarded-Host"),
        ("/authz/envoy/orders", "Host"),
    ],
)
def test_host_headers_of_other_dialects_are_ignored(client, live_key, url, own):
    description = {"X-Original-Method": "GET", "X-Original-URI": "/orders"}
    description |= {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/orders"}
    sent = {"X-API-Key": live_key.secret, **description, **FORGED, own: "sandbox.example.com"}
    assert client.get(url, headers=sent).status_code == 403
    assert KeyUsage.objects.get().host == "sandbox.example.com"


@pytest.mark.parametrize("host", [None, "", "a b", "api.example.com,sandbox.example.com", "x" * 5000])
def test_without_a_valid_host_only_permissions_for_any_host_apply(ask, alice, live_key, host):
    assert ask(live_key.secret, **{"X-Original-Host": host}).status_code == 403
    assert ask(make_key(alice).secret, **{"X-Original-Host": host}).status_code == 200
    assert set(KeyUsage.objects.values_list("host", flat=True)) == {""}


def test_wildcard_covers_all_subdomains(verify, alice):
    secret = make_key(alice, allow=["* * at *.example.com"]).secret
    asked = {
        host: verify(key=secret, method="GET", path="/", host=host)["allowed"]
        for host in ("api.example.com", "a.eu.example.com", "example.com", "badexample.com")
    }
    assert asked == {"api.example.com": True, "a.eu.example.com": True, "example.com": False, "badexample.com": False}


def test_verify_rejects_an_invalid_host(client, live_key):
    for host in ("https://api.example.com", "a/b", "", 7, "a:b"):
        question = {"key": live_key.secret, "method": "GET", "path": "/orders", "host": host}
        response = client.post("/authz/verify", question, content_type="application/json")
        assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
        assert "host must be a host" in response.json()["detail"]
    assert not KeyUsage.objects.exists()
