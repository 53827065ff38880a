"""Request targets that are invalid or that servers interpret differently are denied in every dialect and in verify."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from apikeys.models import KeyPermission, KeyUsage
from ratelimits.models import RateLimit
from tests.apikeys.conftest import ask_as, make_key
from tests.rows import make_limit

AMBIGUOUS = [
    "/orders/7#/../../admin", "/orders/7#", "/orders/7?x=1#y", "/orders/7;x=1", "/orders/;x", "/orders/7%3bx", "/orders/7%3Bx",
    "/orders/7%253b", "/orders/7 8", "/orders/7?a b", '/orders/7"', "/orders/<7>", "/orders/[7]", "/orders/7^", "/orders/7`",
    "/orders/{7}", "/orders/7|8", "/orders\\7", "/orders/7%5c", "/orders/7%2f8", "/orders/..", "/orders/.", "/orders/%2e%2e",
    "/orders/7%", "/orders/7%4", "/orders/7%zz", "/orders/7%00", "/orders/7%0a", "/orders/7%7f", "/orders/7%c2%85",
    "/orders/%ff", "/orders/%c0%ae", "/orders/%EF%BC%8E%EF%BC%8E", "/orders/7%EF%BC%8F8", "/orders/7%E2%88%958",
    "/orders/7%E2%80%AE8", "*", "orders/7",
    "http://api.example.com/orders/7", "api.example.com:443",
]  # fmt: skip
ACCEPTED = {
    "/orders/7?x=%23": "/orders/7",
    "/orders/7?a[]=1|2&b={c};d": "/orders/7",
    "/orders/a%20b": "/orders/a b",
    "/orders/a%23b%3Fc": "/orders/a#b?c",
    "//orders//7/": "/orders/7",
    "/orders/caf%C3%A9": "/orders/café",
}


@pytest.fixture
def reader(alice, counters):
    return make_key(alice, allow=["read /orders/{id}"])


@pytest.mark.parametrize("target", AMBIGUOUS)
@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy"])
def test_gateway_request_with_ambiguous_path_is_denied(client, reader, dialect, target):
    response = ask_as(client, dialect, reader, target=target)
    assert (response.status_code, response["X-Auth-Reason"]) == (403, "ambiguous_path")
    assert KeyUsage.objects.get().reason == "ambiguous_path"


@pytest.mark.parametrize("target", [target for target in AMBIGUOUS if target.startswith("/")])
def test_envoy_request_with_ambiguous_path_is_denied(client, reader, target):
    response = ask_as(client, "envoy", reader, target=target)
    assert (response.status_code, response["X-Auth-Reason"]) == (403, "ambiguous_path")


@pytest.mark.parametrize(
    "target", [*AMBIGUOUS, "", "/orders/7\n", "/orders/7\x85", "/orders/\uff0e\uff0e", "/orders/7\ud800"]
)
def test_verify_denies_ambiguous_path(verify, reader, target):
    answer = verify(key=reader.secret, method="GET", path=target)
    assert (answer["allowed"], answer["status"], answer["reason"]) == (False, 403, "ambiguous_path")


@pytest.mark.parametrize(("target", "path"), ACCEPTED.items())
def test_all_dialects_normalize_a_target_alike(client, verify, reader, target, path):
    for dialect in ("nginx", "traefik", "caddy", "envoy"):
        assert ask_as(client, dialect, reader, target=target).status_code == 200, dialect
    assert verify(key=reader.secret, method="GET", path=target)["allowed"]
    assert set(KeyUsage.objects.values_list("endpoint", flat=True)) == {path}


def test_path_parameter_does_not_escape_a_limit(verify, alice, free, counters):
    key = make_key(alice)
    make_limit(free, "/fix", limit=1, period=60)
    assert verify(key=key.secret, method="GET", path="/fix")["allowed"]
    assert verify(key=key.secret, method="GET", path="/fix;x=1")["reason"] == "ambiguous_path"
    assert verify(key=key.secret, method="GET", path="/fix")["reason"] == "rate_limited"


@pytest.mark.parametrize("path", ["/fix;x=1", "/orders/;x", "/a%3b"])
def test_protected_views_deny_ambiguous_paths(client, key, settings, path):
    settings.API_KEY_REQUIRED = ["/api/"]
    response = client.get("/api/v1/whoami", headers={"X-API-Key": key.secret}, RAW_URI=f"/api/v1/whoami{path}")
    assert (response.status_code, response.json()["reason"]) == (403, "ambiguous_path")


@pytest.mark.parametrize(
    "path", ["/orders;v=1", "/orders/{id};x", "/a;b/*", "/a#b", "/a?b", "/a b", "/a|b", "/a[1]", '/a"', "/a%3b"]
)
def test_pattern_that_no_request_can_match_is_rejected(alice, free, path):
    for row in (
        RateLimit(tier=free, name="x", path=path, limit=1, period=60),
        KeyPermission(api_key=make_key(alice), action="read", resource=path),
    ):
        with pytest.raises(ValidationError, match="path"):
            row.full_clean()


def test_form_explains_that_semicolons_are_not_allowed(staff_client, free):
    data = {"tier": free.pk, "name": "x", "path": "/a;b", "method": "", "limit": 1, "period": 60, "window": "rolling"}
    page = staff_client.post("/admin/ratelimits/ratelimit/add/", {**data, "mode": "enforce"}).content.decode()
    assert "Remove the semicolon" in page
    assert 'value="/a;b"' in page
