"""Each dialect has its own URL; headers of other dialects have no effect."""

from __future__ import annotations

import pytest
from django.test import Client

from apikeys.models import APIKey, KeyUsage
from tests.apikeys.conftest import make_key

# What Traefik 3 sends to its ForwardAuth address according to its documentation, in addition to the client's headers.
TRAEFIK = {
    "Host": "gatehouse:8000",
    "User-Agent": "curl/8.5.0",
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "api.example.com",
    "X-Forwarded-Method": "POST",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Server": "traefik-7d9c",
    "X-Forwarded-Uri": "/orders?page=2",
    "X-Real-Ip": "203.0.113.9",
}


def recorded():
    event = KeyUsage.objects.get()
    return event.method, event.endpoint, event.ip_address


def description(dialect):
    """The headers for POST /orders from 203.0.113.9 in this dialect."""
    if dialect == "nginx":
        return {"X-Original-Method": "POST", "X-Original-URI": "/orders?x=1", "X-Real-IP": "203.0.113.9"}
    return {"X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/orders?x=1", "X-Forwarded-For": "203.0.113.9"}


@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy"])
def test_each_dialect_is_read_from_its_own_headers(client, key, dialect):
    response = client.get(f"/authz/{dialect}", headers={**description(dialect), "X-API-Key": key.secret})
    assert response.status_code == 200
    assert recorded() == ("POST", "/orders", "203.0.113.9")


def test_envoy_requests_have_the_clients_method_and_path(client, key):
    response = client.patch("/authz/envoy/orders/7?x=1", headers={"X-API-Key": key.secret, "X-Real-IP": "203.0.113.9"})
    assert response.status_code == 200
    assert recorded() == ("PATCH", "/orders/7", "203.0.113.9")


@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy", "envoy/orders"])
def test_headers_of_other_dialects_are_ignored(client, alice, counters, dialect):
    key = make_key(alice, allow=["read /public"])
    forged = {
        name: value
        for text in (
            "X-Original-URI: /public",
            "X-Forwarded-Uri: /public",
            "Forwarded: for=192.0.2.1",
            "X-Rewrite-URL: /public",
        )
        for name, value in [text.split(": ")]
    } | {"X-HTTP-Method-Override": "GET", "X-Original-Method": "GET", "X-Forwarded-Method": "GET"}
    own = description(dialect) if "/" not in dialect else {}
    response = client.post(f"/authz/{dialect}", headers={**forged, **own, "X-API-Key": key.secret})
    assert response.status_code == 403
    assert recorded()[:2] == ("POST", "/orders")


@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy"])
@pytest.mark.parametrize("missing", [0, 1])
def test_request_without_description_is_denied(client, key, dialect, missing):
    headers = description(dialect)
    del headers[list(headers)[missing]]
    response = client.get(f"/authz/{dialect}", headers={**headers, "X-API-Key": key.secret})
    assert response.status_code == 403
    assert not KeyUsage.objects.exists()


def test_options_in_the_query_are_ignored(client, key):
    headers = {**description("nginx"), "X-API-Key": key.secret}
    response = client.get("/authz/nginx?method=GET&path=/&allow=1", headers=headers)
    assert response.status_code == 200
    assert recorded() == ("POST", "/orders", "203.0.113.9")


def test_nginx_gets_403_when_rate_limited(ask, alice, counters):
    key = make_key(alice, rate_limit=1, rate_period=60)
    assert ask(key.secret).status_code == 200
    response = ask(key.secret)
    assert (response.status_code, response["X-Auth-Status"], response["X-Auth-Reason"]) == (403, "429", "rate_limited")
    assert int(response["Retry-After"]) >= 1
    assert '"key";q=1;w=60' in response["RateLimit-Policy"]
    assert response.json()["status"] == 429
    assert KeyUsage.objects.filter(status_code=429, reason="rate_limited").count() == 1


@pytest.mark.parametrize("dialect", ["traefik", "caddy"])
def test_other_gateways_get_429_when_rate_limited(client, alice, counters, dialect):
    key = make_key(alice, rate_limit=1, rate_period=60)
    answers = [
        client.get(f"/authz/{dialect}", headers={**description(dialect), "X-API-Key": key.secret}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1]["Content-Type"] == "application/problem+json"
    assert answers[1].json()["type"].endswith("#quota-exceeded")
    assert answers[1].json()["reason"] == "rate_limited"
    assert "Retry-After" in answers[1].headers


def test_traefiks_documented_request_is_read(client, key):
    response = client.get("/authz/traefik", headers={**TRAEFIK, "Authorization": f"Bearer {key.secret}"})
    assert response.status_code == 200
    assert recorded() == ("POST", "/orders", "203.0.113.9")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("192.0.2.1, 203.0.113.9", "203.0.113.9"),
        ("evil, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51234", "203.0.113.9"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ('"[2001:db8::7]:443"', "2001:db8::7"),
        ("192.0.2.1:1, [::ffff:203.0.113.9]:80", "203.0.113.9"),
        ("203.0.113.9, ", None),
        ("203.0.113.9:port", None),
        ("203.000.113.9", None),
        ("_hidden", None),
        ("unknown", None),
        ("", None),
        ("999.1.1.1", None),
        ("%", None),
    ],
)
def test_last_forwarded_for_entry_is_the_address(client, key, sent, stored):
    headers = {**description("caddy"), "X-Forwarded-For": sent, "X-API-Key": key.secret, "X-Real-IP": "192.0.2.99"}
    assert client.get("/authz/caddy", headers=headers).status_code == 200
    assert recorded()[2] == stored


@pytest.mark.parametrize("sent", ["203.0.113.9:51234", "[::ffff:203.0.113.9]:443", '"203.0.113.9"', " 203.0.113.9 "])
@pytest.mark.parametrize("path", ["/authz/nginx", "/authz/envoy/orders", "/authz/caddy", "/authz/traefik"])
def test_allowed_address_with_a_port_is_allowed(client, key, path, sent):
    key.allowed_ips = ["203.0.113.9"]
    key.save()
    addresses = {"X-Real-IP": sent, "X-Forwarded-For": f"6.6.6.6, {sent}"}
    headers = {**description("nginx"), **description("caddy"), **addresses, "X-API-Key": key.secret}
    assert client.get(path, headers=headers).status_code == 200
    assert recorded()[2] == "203.0.113.9"


@pytest.mark.parametrize("sent", ["203.0.113.9:", "unknown", "_hidden", "203.0.113.9.", ""])
@pytest.mark.parametrize("path", ["/authz/nginx", "/authz/envoy/orders", "/authz/caddy", "/authz/traefik"])
def test_invalid_address_is_denied_for_a_key_with_allowed_addresses(client, key, path, sent):
    key.allowed_ips = ["203.0.113.9", "0.0.0.0/0"]
    key.save()
    addresses = {"X-Real-IP": sent, "X-Forwarded-For": f"203.0.113.9, {sent}"}
    headers = {**description("nginx"), **description("caddy"), **addresses, "X-API-Key": key.secret}
    assert client.get(path, headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["api.example.com", "localhost", "evil..example", "a b", ""])
def test_any_host_header_is_accepted(client, key, host):
    response = client.get("/authz/caddy", headers={**description("caddy"), "X-API-Key": key.secret, "Host": host})
    assert response.status_code == 200


def test_response_has_no_cookie_or_redirect(key, settings):
    settings.SECURE_SSL_REDIRECT = True
    client = Client(enforce_csrf_checks=True)
    headers = {**description("nginx"), "X-API-Key": key.secret, "Cookie": "session=abc"}
    for response in (client.get("/authz/nginx", headers=headers), client.post("/authz/nginx", headers=headers)):
        assert response.status_code == 200
        assert not response.cookies
        assert "Vary" not in response.headers
        assert response["Cache-Control"] == "no-store"
    missing = client.get("/authz/nginx/", headers=headers)
    assert missing.status_code == 404


def test_body_is_not_read(client, key):
    class Unreadable:
        def read(self, *size):
            raise AssertionError("the body was read")

        readline = read

    environ = {"wsgi.input": Unreadable(), "CONTENT_LENGTH": "1000000", "CONTENT_TYPE": "application/json"}
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in description("nginx").items()}
    response = client.request(
        REQUEST_METHOD="POST", PATH_INFO="/authz/nginx", HTTP_X_API_KEY=key.secret, **headers, **environ
    )
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/authz/", "/authz/unknown", "/authz/nginx/x", "/authz/NGINX", "/authz/envoy"])
def test_unknown_endpoint_is_404_without_redirect(client, path):
    response = client.get(path)
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")


class TestRawPaths:
    """gunicorn passes on the path as it was sent; otherwise, the decoded path is encoded again."""

    def ask(self, client, key, path, **environ):
        return client.get(path, headers={"X-API-Key": key.secret}, **environ)

    def test_path_is_read_as_sent(self, client, key):
        response = self.ask(client, key, "/authz/envoy/a/b", RAW_URI="/authz/envoy/a%2Fb")
        assert response["X-Auth-Reason"] == "ambiguous_path"

    def test_encoded_prefix_is_denied(self, client, key):
        response = self.ask(client, key, "/authz/envoy/a", RAW_URI="/authz%2Fenvoy/a")
        assert response.status_code == 403
        assert not KeyUsage.objects.exists()

    def test_dot_segments_are_found_without_raw_uri(self, client, key):
        assert self.ask(client, key, "/authz/envoy/a/%2e%2e/b")["X-Auth-Reason"] == "ambiguous_path"

    def test_key_in_query_is_found_without_raw_uri(self, client, key):
        assert self.ask(client, key, f"/authz/envoy/a?api_key={key.secret}")["X-Auth-Reason"] == "malformed_key"

    def test_non_ascii_bytes_are_read_as_utf_8(self, client, key):
        assert self.ask(client, key, "/authz/envoy/caf%C3%A9", RAW_URI="/authz/envoy/caf\xc3\xa9").status_code == 200
        assert recorded()[1] == "/café"


class TestPreflight:
    headers = {
        "X-Original-Method": "OPTIONS",
        "X-Original-URI": "/orders",
        "Access-Control-Request-Method": "POST",
        "Origin": "https://app.example.com",
    }

    def test_preflight_is_denied_by_default(self, client):
        assert client.get("/authz/nginx", headers=self.headers).status_code == 401

    def test_preflight_is_allowed_without_identity_or_row(self, client, settings, key):
        settings.ALLOW_CORS_PREFLIGHT = True
        response = client.get("/authz/nginx", headers=self.headers)
        assert response.status_code == 200
        assert not [name for name in response.headers if name.startswith(("RateLimit", "X-RateLimit"))]
        # Empty, not missing: Envoy and Caddy pass on the client's header if the answer doesn't have it.
        identity = {name: value for name, value in response.headers.items() if name.startswith("X-Auth")}
        assert identity == {
            "X-Auth-User-Id": "",
            "X-Auth-Username": "",
            "X-Auth-Tier": "",
            "X-Auth-Key-Id": "",
            "X-Auth-Event-Id": "",
        }
        assert not KeyUsage.objects.exists()

    @pytest.mark.parametrize(
        "change",
        [
            {"X-Original-Method": "GET"},
            {"X-Original-Method": "POST"},
            {"Access-Control-Request-Method": None},
            {"X-API-Key": "nonsense"},
            {"Authorization": "Bearer nonsense"},
            {"X-Original-URI": "/orders?api_key=abc"},
        ],
    )
    def test_other_requests_are_not_treated_as_preflights(self, client, settings, change):
        settings.ALLOW_CORS_PREFLIGHT = True
        headers = {name: value for name, value in (self.headers | change).items() if value is not None}
        assert client.get("/authz/nginx", headers=headers).status_code == 401

    def test_preflight_with_a_key_is_an_ordinary_request(self, client, settings, key):
        settings.ALLOW_CORS_PREFLIGHT = True
        response = client.get("/authz/nginx", headers={**self.headers, "X-API-Key": key.secret})
        assert response["X-Auth-Key-Id"] == str(key.pk)


def test_allowed_addresses_are_enforced_in_every_dialect(client, key):
    APIKey.objects.filter(pk=key.pk).update(allowed_ips=["203.0.113.0/24"])
    for dialect in ("nginx", "traefik", "caddy"):
        headers = {**description(dialect), "X-API-Key": key.secret}
        assert client.get(f"/authz/{dialect}", headers=headers).status_code == 200
        elsewhere = headers | {"X-Real-IP": "192.0.2.1", "X-Forwarded-For": "203.0.113.9, 192.0.2.1"}
        assert client.get(f"/authz/{dialect}", headers=elsewhere)["X-Auth-Reason"] == "address_not_allowed"
