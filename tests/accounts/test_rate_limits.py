"""Rate limits on a project's own views: the decorator and the middleware."""

from __future__ import annotations

import json

import pytest

from accounts.rate_limits import charge
from ratelimits.models import RateLimit
from ratelimits.rules import forget_rules


@pytest.fixture(autouse=True)
def project_settings(settings, db):
    settings.ROOT_URLCONF = "tests.accounts.rate_limited_urls"
    settings.DEFAULT_RATE_LIMIT_LIMIT, settings.DEFAULT_RATE_LIMIT_PERIOD = 3, 60


def statuses(client, path, times, **options):
    return [client.get(path, **options).status_code for _ in range(times)]


def test_requests_over_the_limit_are_rejected(client):
    assert statuses(client, "/decorated/", 4) == [200, 200, 200, 429]


def test_every_response_has_rate_limit_headers(client):
    assert [client.get("/decorated/")["X-RateLimit-Remaining"] for _ in range(4)] == ["2", "1", "0", "0"]
    refused = client.get("/decorated/")
    assert refused["Retry-After"] == "20"
    assert refused.json()["violated-policies"] == ["default"]


def test_a_tier_limit_replaces_the_default_on_its_path(client, alice, free):
    RateLimit.objects.create(tier=free, path="/decorated/{item}", limit=1)
    client.force_login(alice)
    assert statuses(client, "/decorated/1/", 2) == [200, 429]
    assert statuses(client, "/decorated/", 4) == [200, 200, 200, 429]


def test_a_limit_applies_to_every_spelling_of_a_path(client, alice, free):
    RateLimit.objects.create(tier=free, path="/decorated/{item}", limit=2)
    client.force_login(alice)
    assert statuses(client, "/decorated/1/", 2) == [200, 200]
    for path in ("/decorated/2/", "/decorated/%32/", "/decorated/%7e/", "/%64ecorated/1/", "/decorated/１/"):
        assert client.get(path).status_code == 429
    assert client.get("/decorated/%252e%252e/").status_code == 403
    assert client.get("/decorated/%252e%252e/").json()["reason"] == "ambiguous_path"


def test_a_deleted_limit_no_longer_applies(client, alice, free):
    limit = RateLimit.objects.create(tier=free, path="/decorated", limit=1)
    client.force_login(alice)
    assert statuses(client, "/decorated/", 2) == [200, 429]
    limit.delete()
    forget_rules()
    assert client.get("/decorated/").status_code == 200


def test_rate_limits_can_be_turned_off(client, settings):
    settings.RATE_LIMITER_ENABLED = False
    response = [client.get("/decorated/") for _ in range(5)][-1]
    assert response.status_code == 200
    assert "RateLimit" not in response


def test_anonymous_clients_are_limited_by_address(client):
    assert statuses(client, "/decorated/", 4, REMOTE_ADDR="192.0.2.1")[-1] == 429
    assert statuses(client, "/decorated/", 1, REMOTE_ADDR="192.0.2.2") == [200]


def test_ipv6_clients_are_limited_by_network(client):
    assert statuses(client, "/decorated/", 3, REMOTE_ADDR="2001:db8::1") == [200] * 3
    assert statuses(client, "/decorated/", 1, REMOTE_ADDR="2001:db8::ffff:2") == [429]
    assert statuses(client, "/decorated/", 1, REMOTE_ADDR="2001:db8:0:1::1") == [200]


def test_x_forwarded_for_is_only_used_behind_a_trusted_proxy(client, settings):
    statuses(client, "/decorated/", 3)
    assert client.get("/decorated/", HTTP_X_FORWARDED_FOR="192.0.2.9").status_code == 429
    settings.TRUSTED_PROXY_HOPS = 1
    assert client.get("/decorated/", HTTP_X_FORWARDED_FOR="6.6.6.6, 192.0.2.9").status_code == 200
    assert statuses(client, "/decorated/", 3, HTTP_X_FORWARDED_FOR="7.7.7.7, 192.0.2.9") == [200, 200, 429]


def test_two_users_at_one_address_have_separate_limits(client, alice, bob):
    client.force_login(alice)
    assert statuses(client, "/decorated/", 4)[-1] == 429
    client.force_login(bob)
    assert client.get("/decorated/").status_code == 200


def test_a_view_can_cost_more(client, settings):
    settings.DEFAULT_RATE_LIMIT_LIMIT = 10
    assert statuses(client, "/costly/", 3) == [200, 200, 429]


# --- The middleware ---


def test_the_middleware_only_limits_its_paths(client, settings):
    settings.RATE_LIMITED_PATHS = ["/shop/*"]
    assert statuses(client, "/shop/1/", 4) == [200, 200, 200, 429]
    assert statuses(client, "/livez", 6) == [200] * 6


def test_other_paths_have_no_rate_limit_headers(client, settings):
    settings.RATE_LIMITED_PATHS = ["/costly/*"]
    answers = [client.get("/shop/") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[-1]


def test_without_paths_the_middleware_does_nothing(client):
    assert statuses(client, "/shop/", 6) == [200] * 6
    assert "RateLimit" not in client.get("/shop/")


def test_redirects_that_add_a_slash_are_not_charged(client, settings):
    settings.RATE_LIMITED_PATHS = ["/shop/*"]
    assert statuses(client, "/shop", 5) == [301] * 5
    assert client.get("/shop", follow=True)["X-RateLimit-Remaining"] == "2"


def test_a_request_with_decorator_and_middleware_is_charged_once(client, settings):
    settings.RATE_LIMITED_PATHS = ["/shop-decorated"]
    assert client.get("/shop-decorated/")["X-RateLimit-Remaining"] == "2"


def test_missing_pages_are_not_charged(client, settings):
    settings.RATE_LIMITED_PATHS = ["/*"]
    assert statuses(client, "/nothing/here/at/all/", 5) == [404] * 5


def test_the_middleware_rejects_ambiguous_paths(client, settings):
    settings.RATE_LIMITED_PATHS = ["/shop/*"]
    assert client.get("/shop/%252e%252e/").status_code == 403
    assert client.get("/shop/%5cx/").status_code == 403


@pytest.mark.parametrize("item", ["a%3Bb", "%252e%252e", "a%25252fb", "%5c"])
def test_the_middleware_leaves_ambiguous_paths_of_other_views_alone(client, settings, item):
    settings.RATE_LIMITED_PATHS = ["/shop/*"]
    answer = client.get(f"/news/{item}/")
    assert answer.status_code == 200
    assert "RateLimit" not in answer


def test_a_path_that_is_not_utf8_is_rejected(rf):
    request = rf.get("/decorated/")
    request.path = "/decorated/\udcff/"
    answer = charge(request)
    assert answer.status_code == 403
    assert json.loads(answer.content)["reason"] == "ambiguous_path"
