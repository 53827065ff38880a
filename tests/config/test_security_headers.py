"""Every response has the security headers. In HTTPS mode, cookies have the __Host- prefix."""

from __future__ import annotations

import pytest
from django.contrib import messages
from django.http import HttpResponse
from django.test import RequestFactory

from config.middleware import MACHINE_HEADERS
from tests.apikeys.gateway.asgi import ask_asgi
from tests.config.settings_file import read_settings

pytestmark = pytest.mark.django_db

HTTPS_SETTINGS = [
    *(
        "HTTPS_ONLY",
        "SECURE_SSL_REDIRECT",
        "SECURE_HSTS_SECONDS",
        "SECURE_HSTS_PRELOAD",
        "SECURE_HSTS_INCLUDE_SUBDOMAINS",
    ),
    *("SECURE_PROXY_SSL_HEADER", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_NAME"),
    *("CSRF_COOKIE_NAME", "MESSAGES_COOKIE_NAME"),
]
OVER_HTTPS = {"X-Forwarded-Proto": "https"}


@pytest.fixture
def https(settings, tmp_path):
    """Production settings behind one proxy."""
    production = read_settings(tmp_path, TRUSTED_PROXY_HOPS="1")
    for name in HTTPS_SETTINGS:
        setattr(settings, name, production[name])
    settings.WHITENOISE_USE_FINDERS = settings.WHITENOISE_AUTOREFRESH = True


def missing_headers(response):
    """Security headers that are missing or have another value."""
    policy = response.headers.get("Content-Security-Policy", "")
    strict = policy.startswith("default-src 'none';") and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    lacking = [] if strict else ["Content-Security-Policy"]
    return lacking + [name for name, value in MACHINE_HEADERS[1:] if response.headers.get(name) != value]


@pytest.mark.usefixtures("https")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/accounts/login/", 200),
        ("get", "/admin/", 302),
        ("get", "/users", 301),
        ("get", "/no-such-page", 404),
        ("get", "/admin/?q=%00", 400),
        ("post", "/livez", 405),
        ("get", "/livez", 200),
        ("get", "/readyz", 200),
        ("post", "/accounts/login/", 403),
        ("get", "/static/css/gatehouse.css", 200),
        ("get", "/authz/x", 404),
        ("get", "/authz/verify", 405),
        ("get", "/authz/nginx", 403),
        ("get", "/authz/openapi.json", 200),
    ],
)
def test_responses_over_https_have_security_headers(client, method, path, status):
    client.handler.enforce_csrf_checks = True
    response = getattr(client, method)(path, headers=OVER_HTTPS)
    assert response.status_code == status
    assert missing_headers(response) == []
    assert response["Strict-Transport-Security"].startswith("max-age=31536000")
    response.close()


@pytest.mark.usefixtures("https")
@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/static/css/gatehouse.css", "/no-such-page"])
def test_the_redirect_to_https_has_security_headers(client, path):
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (301, f"https://testserver{path}")
    assert missing_headers(response) == []


@pytest.mark.parametrize("headers", [{}, OVER_HTTPS])
@pytest.mark.usefixtures("https")
def test_a_response_to_a_rejected_host_has_security_headers(client, headers):
    response = client.get("/accounts/login/", headers={"Host": "evil.example", **headers})
    assert response.status_code == 400
    assert missing_headers(response) == []


@pytest.mark.usefixtures("https")
def test_a_server_error_has_security_headers(client, monkeypatch):
    monkeypatch.setattr("config.health.livez", lambda request: 1 / 0)
    client.raise_request_exception = False
    response = client.get("/livez", headers=OVER_HTTPS)
    assert response.status_code == 500
    assert missing_headers(response) == []


@pytest.mark.usefixtures("https")
def test_an_unavailable_response_has_security_headers(client, monkeypatch):
    monkeypatch.setattr("config.health.checks", lambda: {"database": lambda: False})
    response = client.get("/readyz")
    assert response.status_code == 503
    assert missing_headers(response) == []


class GatewayResponse:
    """A response of the ASGI application, with the attributes of a test client's response."""

    def __init__(self, response):
        self.status, self.headers, _ = response


@pytest.mark.parametrize(
    ("path", "peer", "status"),
    [
        ("/authz/nginx", "127.0.0.1", "403 Forbidden"),
        ("/authz/nginx", "203.0.113.5", "403 Forbidden"),
        ("/authz/x", "127.0.0.1", "404 Not Found"),
        ("/authz/verify", "127.0.0.1", "405 Method Not Allowed"),
        ("/authz/openapi.json", "127.0.0.1", "200 OK"),
    ],
)
def test_responses_to_a_gateway_have_security_headers(path, peer, status):
    response = GatewayResponse(ask_asgi(path, peer=peer))
    assert response.status == status
    assert missing_headers(response) == []
    assert "Strict-Transport-Security" not in response.headers


@pytest.mark.usefixtures("https")
def test_hsts_for_gateways_does_not_include_subdomains():
    response = GatewayResponse(ask_asgi("/authz/nginx", [("X-Forwarded-Proto", "https")]))
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"


def cookies_of(response):
    return {name: dict(morsel.items()) for name, morsel in response.cookies.items()}


@pytest.fixture
def cookies(client, sue, alice):
    """Sign in over HTTPS and get a message. Return all cookies that were set."""
    page = client.get("/accounts/login/", headers=OVER_HTTPS)
    signed_in = client.post("/accounts/login/", {"login": "sue", "password": "correct horse 1"}, headers=OVER_HTTPS)
    assert signed_in.status_code == 302
    done = client.post(f"/users/{alice.pk}/reactivate/", headers=OVER_HTTPS)
    return cookies_of(page) | cookies_of(signed_in) | cookies_of(done)


@pytest.mark.usefixtures("https")
def test_cookies_have_the_host_prefix(cookies):
    assert set(cookies) == {"__Host-csrf", "__Host-session", "__Host-messages"}
    for cookie in cookies.values():
        assert cookie["secure"]
        assert cookie["httponly"]
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Lax")


@pytest.mark.usefixtures("https", "cookies")
def test_a_message_is_shown_once_and_its_cookie_is_deleted(client):
    assert client.cookies["__Host-messages"].value
    page = client.get("/account/", headers=OVER_HTTPS)
    assert len(page.context["messages"]) == 1
    deleted = page.cookies["__Host-messages"]
    assert (deleted.value, deleted["max-age"], deleted["path"]) == ("", 0, "/")
    assert deleted["secure"]


def test_the_message_cookie_has_no_prefix_without_https():
    request = RequestFactory().get("/")
    request.COOKIES, request.session = {}, {}
    storage = messages.storage.default_storage(request)
    storage.add(messages.INFO, "Saved")
    response = HttpResponse()
    storage.update(response)
    assert set(response.cookies) == {"messages"}
