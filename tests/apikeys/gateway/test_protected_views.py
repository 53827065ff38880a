"""Django views can require a key without a gateway; whoami is an example."""

from __future__ import annotations

import pytest
from django.http import JsonResponse
from django.test import Client
from django.urls import path

from apikeys.gateway import decorators
from apikeys.gateway.decorators import require_key
from apikeys.models import KeyUsage
from tests.apikeys.conftest import make_key

WHOAMI = "/api/v1/whoami"


@require_key(resource="invoices", action="delete", cost=5)
def purge(request):
    return JsonResponse({"user": request.verdict.key.username})


def plain(request):
    return JsonResponse({"key": str(request.verdict.key.id)} if hasattr(request, "verdict") else {})


@require_key()
def broken(request):
    raise ValueError("error in the view")


urlpatterns = [path("api/purge", purge), path("api/plain/", plain), path("plain", plain), path("api/broken", broken)]


@pytest.fixture
def own_views(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def protected_paths(own_views, settings):
    settings.MIDDLEWARE = [
        "apikeys.gateway.middleware.GatewayMiddleware",
        "django.middleware.common.CommonMiddleware",
        "apikeys.gateway.middleware.KeyRequiredMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ]


def test_whoami_returns_the_key_and_its_owner(client, key, alice, free):
    response = client.get(WHOAMI, headers={"Authorization": f"Bearer {key.secret}"})
    data = response.json()
    event = KeyUsage.objects.get()
    assert (data["user"], data["tier"]) == ({"id": alice.pk, "username": "alice"}, {"id": free.pk, "name": "free"})
    assert (data["key"]["id"], data["event_id"]) == (str(key.pk), str(event.pk))
    assert (event.endpoint, event.ip_address) == (WHOAMI, "127.0.0.1")
    assert response["X-RateLimit-Remaining"] == "99"
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "nonsense"}])
def test_whoami_without_a_valid_key_is_denied(client, db, headers):
    response = client.get(WHOAMI, headers=headers)
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_whoami_answers_any_address(client, key):
    assert client.get(WHOAMI, headers={"X-API-Key": key.secret}, REMOTE_ADDR="203.0.113.5").status_code == 200


def test_whoami_only_allows_get(client, key):
    assert client.post(WHOAMI, headers={"X-API-Key": key.secret}).status_code == 405


def test_rate_limited_caller_gets_429(client, alice, counters):
    key = make_key(alice, rate_limit=1, rate_period=60)
    answers = [client.get(WHOAMI, headers={"X-API-Key": key.secret}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "Retry-After" in answers[1].headers


def test_session_cookie_does_not_replace_a_key(client, alice):
    client.force_login(alice)
    assert client.get(WHOAMI).status_code == 401


def test_decorator_accepts_resource_action_and_cost(own_views, alice, counters):
    client = Client(enforce_csrf_checks=True)
    reader, cleaner = make_key(alice, allow=["read *"]), make_key(alice, allow=["delete invoices"])
    assert client.post("/api/purge", headers={"X-API-Key": reader.secret}).status_code == 403
    response = client.post("/api/purge", headers={"X-API-Key": cleaner.secret})
    assert response.json() == {"user": "alice"}
    assert response["X-RateLimit-Remaining"] == "95"


def test_error_in_the_view_is_not_hidden(own_views, client, key):
    with pytest.raises(ValueError, match="error in the view"):
        client.get("/api/broken", headers={"X-API-Key": key.secret})


@pytest.mark.parametrize("broken", ["decide_now", "read_credential"])
def test_error_in_the_decision_is_503_and_the_view_does_not_run(own_views, client, key, monkeypatch, broken):
    def fail(*args, **options):
        raise RuntimeError("internal detail")

    monkeypatch.setattr(decorators, broken, fail)
    response = client.get("/api/broken", headers={"X-API-Key": key.secret})
    assert (response.status_code, response["Content-Type"]) == (503, "application/problem+json")
    assert "internal detail" not in response.text


class TestMiddleware:
    def test_paths_below_the_prefix_need_a_key(self, protected_paths, client, key):
        assert client.get("/api/plain/").status_code == 401
        response = client.get("/api/plain/", headers={"X-API-Key": key.secret})
        assert response.json() == {"key": str(key.pk)}
        assert response["X-RateLimit-Remaining"] == "99"
        assert client.get("/plain").json() == {}

    def test_decorated_view_is_charged_once_by_the_decorator(self, protected_paths, client, key):
        response = client.post("/api/purge", headers={"X-API-Key": key.secret})
        assert response["X-RateLimit-Remaining"] == "95"
        assert KeyUsage.objects.get().endpoint == "/api/purge"

    def test_404_and_redirect_are_not_charged(self, protected_paths, client, key):
        assert client.get("/api/nothing", headers={"X-API-Key": key.secret}).status_code == 404
        assert client.get("/api/plain", headers={"X-API-Key": key.secret}).status_code == 301
        assert not KeyUsage.objects.exists()

    def test_post_with_a_key_needs_no_csrf_token(self, protected_paths, key):
        client = Client(enforce_csrf_checks=True)
        assert client.post("/api/plain/", headers={"X-API-Key": key.secret}).status_code == 200
        assert client.post("/plain").status_code == 403

    def test_prefixes_are_configurable(self, protected_paths, client, settings):
        settings.API_KEY_REQUIRED = ["/plain"]
        assert client.get("/plain").status_code == 401
        assert client.get("/api/plain/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/account/", "/account/keys/", "/account/keys/new/", "/accounts/password/change/", "/users/", "/admin/"]
)
def test_key_does_not_sign_anyone_in(client, sue, path):
    secret = make_key(sue).secret
    for headers in ({"X-API-Key": secret}, {"Authorization": f"Bearer {secret}"}):
        for response in (client.get(path, headers=headers), client.post(path, headers=headers)):
            assert response.status_code in {302, 403, 405}
            assert "login" in response.get("Location", "login")
    assert sue.api_keys.count() == 1
