"""One wording of rate limits for all pages."""

from __future__ import annotations

import datetime as dt

import pytest
from django.urls import reverse

from ratelimits.budgets import Budget, BudgetState
from ratelimits.limiter import limiter
from ratelimits.matching import requests_in_words
from ratelimits.rules import lines_of
from tests.pages import text_of
from tests.rows import make_key, make_limit, make_own_limit, make_usage

NOON = 1_771_070_400
MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (("", "/orders"), "/orders"),
        (("GET", "/orders/*"), "GET /orders/*"),
        (("", "/orders", "api.example.com"), "/orders on api.example.com"),
        (("GET", "/*", "*.example.com"), "GET /* on *.example.com"),
    ],
)
def test_what_a_limit_counts(rule, words):
    assert requests_in_words(*rule) == words


@pytest.mark.parametrize(
    ("window", "seconds", "words"),
    [
        ("rolling", 0, "–"),
        ("rolling", 1, "in 1 second"),
        ("fixed", 59, "in 59 seconds"),
        ("fixed", 60, "in 1 minute"),
        ("fixed", 5 * HOUR, "in 5 hours"),
        ("month", 25 * DAY, "in 25 days"),
        ("total", 0, "never"),
    ],
)
def test_when_a_budget_resets(window, seconds, words):
    state = BudgetState(Budget("k", 5, MINUTE, window), 4, seconds, 0, exceeded=False, resets_at=NOON + seconds)
    assert state.reset_in_words == words
    assert state.resets_at_time == (dt.datetime.fromtimestamp(NOON + seconds, dt.UTC) if seconds else None)


def test_the_exact_time_is_there_on_hover(staff_client, alice):
    limiter().hit([make_own_limit(alice, window="week").budget(f"user:{alice.pk}")])
    page = text_of(staff_client.get(f"/users/{alice.pk}/"))
    assert "00:00:00 UTC" in page.split('id="effective-limits"')[1].split("4 of 5")[1].split("</td>")[1]


def test_a_line_says_where_a_budget_comes_from(alice, free):
    limits = [make_limit(free, "/a"), make_own_limit(alice, "/b", host="api.example.com")]
    budgets = [
        *(limit.budget("o") for limit in limits),
        Budget("d", 1, 1, name="default"),
        Budget("k", 1, 1, name="key"),
    ]
    key = make_key(alice)
    found = lines_of(limiter().peek(budgets).states, key)
    assert [(line.source, line.requests, line.row) for line in found] == [
        ("tier", "/a", limits[0]),
        ("own", "/b on api.example.com", limits[1]),
        ("default", "Everything else", None),
        ("key", "Everything with this key", key),
    ]


def test_quotas_in_money_are_told_in_money(staff_client, alice):
    limit = make_own_limit(alice, "/*", limit=5 * 10**8, unit="microcents", window="month", host="api.example.com")
    make_usage(make_key(alice))
    assert "$5.00 of $5.00 per month remaining" in text_of(staff_client.get("/users/"))
    limit.path, limit.limit = "/a", 10**8
    limit.save()
    near = near_quota(staff_client)
    assert "Nobody used 80%" in near


def near_quota(client):
    return text_of(client.get(reverse("ratelimits:limited_now"))).split('id="near"')[1].split("</section>")[0]


def test_who_is_near_a_quota_is_told_of_which_host_it_is_and_what_is_left(staff_client, alice, free):
    quota = make_limit(free, "/*", limit=5, window="month", host="api.example.com", method="GET")
    limiter().hit([quota.budget(f"user:{alice.pk}")], 5)
    make_usage(make_key(alice))
    near = near_quota(staff_client)
    assert '<span class="mono">GET /* on api.example.com</span>, 5 per month' in near
    assert "0 of 5" in near
    assert "none left" in near


def test_a_copy_is_announced_with_its_host(staff_client, free, pro):
    make_limit(free, "/a", limit=5, window="month", host="api.example.com", overall=True)
    given = {"source": free.pk, "target": pro.pk}
    page = text_of(staff_client.get(reverse("ratelimits:copy"), given))
    assert '<td class="mono">/a on api.example.com</td> <td>5 per month <span class="badge badge-muted">overall' in page
    staff_client.post(reverse("ratelimits:copy"), given)
    page = text_of(staff_client.get(reverse("ratelimits:copy"), given))
    assert '<li><span class="mono">/a on api.example.com</span>, 5 per month' in page


def test_the_default_is_left_out_where_it_never_applies(staff_client, client, alice, free):
    make_limit(free, "/*", limit=5, mode="observe")
    page = text_of(staff_client.get(f"/users/{alice.pk}/"))
    assert "Everything else" not in page
    client.force_login(alice)
    assert "Nothing limits your requests." in text_of(client.get("/account/limits/"))
    assert "per minute" not in text_of(client.get("/account/"))


def test_a_request_in_the_log_names_the_host_of_its_limit(staff_client, alice, free):
    limit = make_limit(free, "/orders", limit=5, host="api.example.com")
    event = make_usage(make_key(alice), rate_limit=limit)
    page = text_of(staff_client.get(reverse("usage:staff_request", args=[event.pk])))
    assert '<span class="mono">/orders on api.example.com</span>, 5 per minute' in page
