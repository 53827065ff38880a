"""/account/limits/: a user's own rate limits and what remains of them."""

from __future__ import annotations

import pytest

from ratelimits.limiter import limiter
from ratelimits.rules import budgets_for
from tests.pages import text_of
from tests.rows import make_limit


def test_users_see_their_rate_limits_and_remaining_requests(client, alice, free):
    make_limit(free, "/orders/{id}", method="GET", limit=10)
    make_limit(free, "/hidden", mode="observe")
    limiter().hit(budgets_for(f"user:{alice.pk}", free.pk, "GET", "/orders/5"), 3)
    client.force_login(alice)
    page = text_of(client.get("/account/limits/"))
    assert "GET /orders/{id}" in page
    assert "7 of 10" in page
    assert "100 of 100" in page
    assert "Everything else" in page
    assert "/hidden" not in page


def test_usage_of_other_users_is_not_shown(client, alice, bob, free):
    make_limit(free, "/orders", limit=10)
    limiter().hit(budgets_for(f"user:{bob.pk}", free.pk, "GET", "/orders"), 10)
    client.force_login(alice)
    page = text_of(client.get("/account/limits/"))
    assert "10 of 10" in page
    assert "none left" not in page


def test_a_user_without_a_tier_sees_the_default_limit(client, sue):
    type(sue).objects.update(tier=None)
    client.force_login(sue)
    page = text_of(client.get("/account/limits/"))
    assert "You have no tier" in page
    assert "100 per minute" in page


def test_visitors_are_redirected_to_sign_in(client, db):
    assert client.get("/account/limits/").status_code == 302


@pytest.mark.parametrize("number", [1, 50])
def test_the_number_of_queries_does_not_grow_with_rate_limits(client, alice, free, django_assert_num_queries, number):
    for one in range(number):
        make_limit(free, f"/path{one}")
    client.force_login(alice)
    client.get("/account/limits/")
    with django_assert_num_queries(5):  # session, user, their limits and their tier's, their keys' limits, tier
        client.get("/account/limits/")


def test_the_page_says_so_if_the_store_is_unavailable(client, alice, monkeypatch, transactional_db):
    monkeypatch.setattr(type(limiter().breaker), "is_open", True)
    client.force_login(alice)
    assert "can't show your remaining requests" in text_of(client.get("/account/limits/"))


def test_the_profile_shows_own_limits_instead_of_the_limits_they_replace(client, alice, free):
    make_limit(free, "/orders/{id}", limit=10)
    make_limit(None, "/orders/{number}", user=alice, limit=77, host="")
    make_limit(None, "/orders/{number}", user=alice, limit=88, host="api.example.com")
    client.force_login(alice)
    page = text_of(client.get("/account/"))
    for text in ("77 per minute", "88 per minute", "/orders/{number} on api.example.com"):
        assert text in page
    assert "10 per minute" not in page
