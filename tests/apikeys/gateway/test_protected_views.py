"""Your own views can require a key without a gateway; whoami is an example."""

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
    raise ValueError("the view's own mistake")


urlpatterns = [path("api/purge", purge), path("api/plain/", plain), path("plain", plain), path("api/broken", broken)]


@pytest.fixture
def own_views(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def guarded_paths(own_views, settings):
    settings.MIDDLEWARE = [
        "apikeys.gateway.middleware.GatewayMiddleware",
        "django.middleware.common.CommonMiddleware",
        "apikeys.gateway.middleware.KeyRequiredMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ]


def test_whoami_tells_what_the_key_says(client, key, alice, free):
    response = client.get(WHOAMI, headers={"Authorization": f"Bearer {key.secret}"})
    told = response.json()
    event = KeyUsage.objects.get()
    assert (told["user"], told["tier"]) == ({"id": alice.pk, "username": "alice"}, {"id": free.pk, "name": "free"})
    assert (told["key"]["id"], told["event_id"]) == (str(key.pk), str(event.pk))
    assert (event.endpoint, event.ip_address) == (WHOAMI, "127.0.0.1")
    assert response["X-RateLimit-Remaining"] == "99"
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "nonsense"}])
def test_whoami_denies_like_a_gateway(client, db, headers):
    response = client.get(WHOAMI, headers=headers)
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_whoami_answers_anybody_s_address_not_only_gateways(client, key):
    assert client.get(WHOAMI, headers={"X-API-Key": key.secret}, REMOTE_ADDR="203.0.113.5").status_code == 200


def test_whoami_takes_get_only(client, key):
    assert client.post(WHOAMI, headers={"X-API-Key": key.secret}).status_code == 405


def test_a_limited_caller_hears_429(client, alice, counters):
    key = make_key(alice, rate_limit=1, rate_period=60)
    answers = [client.get(WHOAMI, headers={"X-API-Key": key.secret}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "Retry-After" in answers[1].headers


def test_a_session_cookie_is_no_key(client, alice):
    client.force_login(alice)
    assert client.get(WHOAMI).status_code == 401


def test_a_named_resource_and_a_cost_can_be_asked_for(own_views, alice, counters):
    client = Client(enforce_csrf_checks=True)
    reader, cleaner = make_key(alice, allow=["read *"]), make_key(alice, allow=["delete invoices"])
    assert client.post("/api/purge", headers={"X-API-Key": reader.secret}).status_code == 403
    response = client.post("/api/purge", headers={"X-API-Key": cleaner.secret})
    assert response.json() == {"user": "alice"}
    assert response["X-RateLimit-Remaining"] == "95"


def test_a_mistake_of_the_view_is_not_hidden_as_503(own_views, client, key):
    with pytest.raises(ValueError, match="own mistake"):
        client.get("/api/broken", headers={"X-API-Key": key.secret})


@pytest.mark.parametrize("broken", ["decide_now", "read_credential"])
def test_an_error_while_deciding_is_503_and_the_view_does_not_run(own_views, client, key, monkeypatch, broken):
    def fail(*args, **options):
        raise RuntimeError("internal detail")

    monkeypatch.setattr(decorators, broken, fail)
    response = client.get("/api/broken", headers={"X-API-Key": key.secret})
    assert (response.status_code, response["Content-Type"]) == (503, "application/problem+json")
    assert "internal detail" not in response.text


class TestMiddleware:
    def test_paths_below_a_prefix_need_a_key(self, guarded_paths, client, key):
        assert client.get("/api/plain/").status_code == 401
        response = client.get("/api/plain/", headers={"X-API-Key": key.secret})
        assert response.json() == {"key": str(key.pk)}
        assert response["X-RateLimit-Remaining"] == "99"
        assert client.get("/plain").json() == {}

    def test_a_view_with_a_decorator_is_charged_once_and_by_it(self, guarded_paths, client, key):
        response = client.post("/api/purge", headers={"X-API-Key": key.secret})
        assert response["X-RateLimit-Remaining"] == "95"
        assert KeyUsage.objects.get().endpoint == "/api/purge"

    def test_no_view_no_charge(self, guarded_paths, client, key):
        assert client.get("/api/nothing", headers={"X-API-Key": key.secret}).status_code == 404
        assert client.get("/api/plain", headers={"X-API-Key": key.secret}).status_code == 301
        assert not KeyUsage.objects.exists()

    def test_a_post_with_a_key_needs_no_csrf_token(self, guarded_paths, key):
        client = Client(enforce_csrf_checks=True)
        assert client.post("/api/plain/", headers={"X-API-Key": key.secret}).status_code == 200
        assert client.post("/plain").status_code == 403

    def test_the_prefixes_are_a_setting(self, guarded_paths, client, settings):
        settings.API_KEY_REQUIRED = ["/plain"]
        assert client.get("/plain").status_code == 401
        assert client.get("/api/plain/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/account/", "/account/keys/", "/account/keys/new/", "/accounts/password/change/", "/users/", "/admin/"]
)
def test_a_key_signs_nobody_in_not_even_a_superuser(client, sue, path):
    secret = make_key(sue).secret
    for headers in ({"X-API-Key": secret}, {"Authorization": f"Bearer {secret}"}):
        for response in (client.get(path, headers=headers), client.post(path, headers=headers)):
            assert response.status_code in {302, 403, 405}
            assert "login" in response.get("Location", "login")
    assert sue.api_keys.count() == 1
