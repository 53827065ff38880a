"""Own limits, overall limits and hosts in the match tester and the list."""

from __future__ import annotations

import datetime as dt

import pytest
from django.urls import reverse
from django.utils import timezone

from ratelimits.models import RateLimit
from tests.pages import text_of
from tests.rows import make_limit, make_own_limit

pytestmark = pytest.mark.usefixtures("memory")
LIST = reverse("admin:ratelimits_ratelimit_changelist")


def ask_tester(client, **question):
    found = client.get(
        reverse("ratelimits:match_tester"), {"method": "GET", "path": "/orders/5", "tier": "", **question}
    )
    context = found.context
    if "matches" not in context:
        return context["form"].errors, text_of(found)
    names = {
        kind: [rule.name for match in context[kind] for rule in match.values]
        for kind in ("matches", "overall", "replaced")
    }
    return names, text_of(found)


def test_match_tester_shows_limits_replaced_by_own_limits(staff_client, alice, free):
    make_limit(free, "/orders/{id}", name="one order")
    make_limit(free, "/orders/*", name="orders")
    make_limit(free, "/*", name="plan", overall=True)
    make_own_limit(alice, "/orders/{number}")
    make_own_limit(alice, "/*", overall=True)
    names, page = ask_tester(staff_client, user="alice")
    assert names == {
        "matches": ["own /orders/{number}", "orders"],
        "overall": ["own /*"],
        "replaced": ["one order", "plan"],
    }
    for text in ("replaced by the user's own", "overall: applies too", "less specific", "own"):
        assert text in page.replace("&#x27;", "'")
    assert "5 of 5" in page


def test_match_tester_shows_overall_limits_and_the_default(staff_client, free):
    make_limit(free, "/*", name="plan", overall=True)
    names, page = ask_tester(staff_client, tier=free.pk)
    assert names == {"matches": [], "overall": ["plan"], "replaced": []}
    assert "No rate limit matches, so the default applies" in page


def test_match_tester_accepts_a_host(staff_client, free):
    make_limit(free, "/orders/*", name="any")
    make_limit(free, "/orders/*", name="live", host="api.example.com")
    assert ask_tester(staff_client, tier=free.pk)[0]["matches"] == ["any"]
    names, page = ask_tester(staff_client, tier=free.pk, host="API.example.com:443")
    assert names["matches"] == ["live", "any"]
    assert "GET /orders/5 on api.example.com" in page
    for host in ("https://x", "a b", "*.example.com"):
        assert ask_tester(staff_client, tier=free.pk, host=host)[0]["host"] == [
            "Enter a valid host, for example api.example.com."
        ]


def test_match_tester_says_that_totals_never_reset(staff_client, alice):
    make_own_limit(alice, window="total")
    assert "never" in ask_tester(staff_client, user="alice")[1]


def test_list_shows_owners_and_can_be_filtered(staff_client, alice, free):
    make_limit(free, "/of-tier", name="of the tier")
    make_own_limit(alice, "/of-user", host="api.example.com")
    make_own_limit(alice, "/past", ends_at=timezone.now() - dt.timedelta(hours=1))
    page = text_of(staff_client.get(LIST))
    for text in ("alice", "free", "/of-user on api.example.com", "ended"):
        assert text in page
    found = {
        value: {limit.name for limit in staff_client.get(LIST, {"owner": value}).context["cl"].queryset}
        for value in ("tier", "user", "ended")
    }
    assert found == {"tier": {"of the tier"}, "user": {"own /of-user", "own /past"}, "ended": {"own /past"}}


def test_admin_form_accepts_a_user_instead_of_a_tier(staff_client, alice, free):
    posted = {"path": "/a", "method": "", "limit": 5, "period": 60, "window": "total", "mode": "enforce", "name": ""}
    add = reverse("admin:ratelimits_ratelimit_add")
    page = staff_client.post(add, posted)
    assert "Choose a tier or a user." in page.content.decode()
    page = staff_client.post(add, {**posted, "tier": free.pk, "user": alice.pk})
    assert "Choose a tier or a user, not both." in page.content.decode()
    page = staff_client.post(add, {**posted, "tier": free.pk})
    assert "only for a user&#x27;s own rate limit" in page.content.decode()
    staff_client.post(add, {**posted, "user": alice.pk})
    assert alice.rate_limits.get().window == "total"


def test_overall_limit_does_not_warn_about_other_limits(staff_client, free):
    make_limit(free, "/*", name="all")
    posted = {"tier": free.pk, "path": "/a", "method": "", "limit": 5, "period": 60, "window": "fixed", "mode": "enforce",
              "name": "", "overall": "on"}  # fmt: skip
    page = staff_client.post(reverse("admin:ratelimits_ratelimit_add"), posted, follow=True)
    assert "no longer count" not in text_of(page)


def test_limit_is_only_compared_with_limits_for_the_same_host(free):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        make_limit(free, "/a", method=method, host="api.example.com")
    RateLimit(tier=free, path="/a", limit=5).full_clean()
    RateLimit(tier=free, path="/a", limit=5, host="*.example.com").full_clean()
    with pytest.raises(Exception, match="would never apply"):
        RateLimit(tier=free, path="/a", limit=5, host="api.example.com").full_clean()
