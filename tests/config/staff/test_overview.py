"""The staff overview: totals, expiring keys, recent changes and search, depending on permissions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys.secrets import new_secret
from config.base.history import CHANGE, Author
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_staff, make_usage
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def days_from_now(number):
    return timezone.now() + timedelta(days=number)


def test_the_totals_count_live_rows_and_active_keys(staff_client, alice, bob, free):
    bob.delete()
    make_key(alice)
    make_key(alice, "expired", expires_at=days_from_now(-1))
    make_limit(free)
    make_limit(free, "/x").delete()
    stats = {stat["label"]: (stat["value"], stat["url"]) for stat in staff_client.get("/admin/").context["stats"]}
    assert {label: value for label, (value, _) in stats.items()} == {
        "users": "2",
        "active keys": "1",
        "tiers": "1",
        "rate limits": "1",
    }
    for _, url in stats.values():
        assert staff_client.get(url).status_code == 200


def test_keys_that_expire_soon_are_listed(staff_client, alice):
    make_key(alice, "in three", expires_at=days_from_now(3))
    make_key(alice, "in one", expires_at=days_from_now(1))
    make_key(alice, "far off", expires_at=days_from_now(90))
    make_key(alice, "gone by", expires_at=days_from_now(-1))
    make_key(alice, "revoked", expires_at=days_from_now(1), revoked_at=timezone.now())
    page = staff_client.get("/admin/")
    assert [key.name for key in page.context["expiring"]] == ["in one", "in three"]
    assert "in 1 day</time>" in page.content.decode()


def test_recent_changes_are_shown(staff_client, alice, sue):
    Author(sue).record(alice, CHANGE, changes=[{"field": "name", "old": "<i>A", "new": "B"}])
    page = staff_client.get("/admin/").content.decode()
    assert "“alice”" in page
    assert "&lt;i&gt;A" in page


def test_an_empty_site_shows_messages_and_a_first_step(staff_client):
    page = staff_client.get("/admin/").content.decode()
    assert "No requests yet." in page
    assert "No changes yet." in page
    assert "No keys expire in the next 30 days." in page
    assert "/users/add/" in page


@pytest.mark.parametrize(
    ("permission", "shown"),
    [
        ("accounts.view_user", "users"),
        ("tiers.view_tier", "tiers"),
        ("ratelimits.view_ratelimit", "rate limits"),
        ("apikeys.view_apikey", "active keys"),
    ],
)
def test_staff_only_see_what_they_have_permission_to_view(client, permission, shown):
    client.force_login(make_staff("one", permission))
    context = client.get("/admin/").context
    assert [stat["label"] for stat in context["stats"]] == [shown]
    assert ("expiring" in context) is (permission == "apikeys.view_apikey")
    assert "recent_changes" not in context
    assert "trends" not in context


def test_staff_without_permissions_see_whom_to_ask(client):
    client.force_login(make_staff("none"))
    assert "Ask a superuser" in client.get("/admin/").content.decode()


def test_the_number_of_queries_does_not_grow_with_rows(staff_client, alice, free, sue):
    def fill(start, end):
        for number in range(start, end):
            user = make_user(f"user{number}")
            make_usage(make_key(user, expires_at=days_from_now(2)))
            make_limit(Tier.objects.create(name=f"t{number}"))
            Author(sue).record(user, CHANGE, note="x")

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert staff_client.get("/admin/").status_code == 200
        return len(captured)

    fill(0, 1)
    queries()
    one = queries()
    fill(1, 50)
    assert queries() == one
    assert one <= 38


def find(client, query):
    groups = client.get("/admin/search/", {"q": query}).context["groups"]
    return {group["label"]: [str(row) for row, _ in group["rows"]] for group in groups}


def test_search_finds_users_keys_tiers_and_limits(staff_client, alice, free):
    Tier.objects.create(name="alice's tier")
    make_limit(free, "/alice/*", name="alice limit")
    key = make_key(alice, "for alice")
    assert find(staff_client, "alice") == {
        "users": ["alice"],
        "API keys": [str(key)],
        "tiers": ["alice's tier"],
        "rate limits": ["alice limit"],
    }
    assert find(staff_client, key.prefix)["API keys"] == [str(key)]
    page = staff_client.get("/admin/search/?q=alice").content.decode()
    assert "alice@example.com" in page
    assert "/alice/*" in page
    assert 'value="alice"' in page


def test_search_shows_a_few_results_and_links_to_all(staff_client):
    for number in range(8):
        make_user(f"maria{number}")
    page = staff_client.get("/admin/search/?q=maria")
    users = page.context["groups"][0]
    assert len(users["rows"]) == 6
    assert users["has_more"]
    assert users["url"] == "/users/?q=maria"
    assert "Show all" in page.content.decode()


def test_search_skips_deleted_rows_and_links_to_them(staff_client, alice):
    alice.delete()
    assert find(staff_client, "alice")["users"] == []
    assert "q=alice&amp;state=all" in staff_client.get("/admin/search/?q=alice").content.decode()


def test_an_empty_search_shows_instructions(staff_client):
    assert "Enter a name, an email address" in staff_client.get("/admin/search/?q=+").content.decode()


def test_search_only_shows_what_the_user_can_view(client, alice, free):
    client.force_login(make_staff("vera", "tiers.view_tier"))
    assert set(find(client, "a")) == {"tiers"}
    client.force_login(make_staff("none"))
    assert "have permission to view anything that search covers" in client.get("/admin/search/?q=a").content.decode()


def test_searching_for_a_secret_redirects_to_the_key_finder(staff_client):
    response = staff_client.get("/admin/search/", {"q": f" {new_secret()}"})
    assert response.status_code == 302
    assert response["Location"] == "/admin/apikeys/apikey/find/"


def test_search_escapes_its_text(staff_client):
    page = staff_client.get("/admin/search/", {"q": '"><script>alert(1)</script>'}).content.decode()
    assert "<script>alert" not in page


def test_the_number_of_search_queries_does_not_grow_with_rows(staff_client, free):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            staff_client.get("/admin/search/?q=row")
        return len(captured)

    def fill(start, end):
        for number in range(start, end):
            make_key(make_user(f"row{number}"), f"row {number}")
            make_limit(Tier.objects.create(name=f"row {number}"), f"/row{number}")

    fill(0, 1)
    queries()
    one = queries()
    fill(1, 50)
    assert queries() == one
