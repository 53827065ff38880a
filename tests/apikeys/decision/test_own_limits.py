"""Limits of one user, overall limits, limits for a host, and the end of a tier apply from the next request."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from apikeys.decision import lookup
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import decide
from apikeys.models import KeyUsage
from ratelimits.models import RateLimit
from ratelimits.rules import COLUMNS, forget_rules, own_rules_of
from tests.rows import make_key, make_limit, make_own_limit
from tiers.models import Tier

# As in production: inside a transaction, PostgreSQL would use other statements.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("counters")]
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def set_clock_ahead(monkeypatch):
    """Make the lookup use a later time."""

    def set_clock_ahead(delta):
        now = timezone.now() + delta
        monkeypatch.setattr(lookup.timezone, "now", lambda: now)

    return set_clock_ahead


def decide_request(key, path="/orders/7", *, method="GET", host="", cost=1):
    return decide(Facts(Credential(key.secret), method, path, host=host, cost=cost))


def applied_limits(key, path="/orders/7", **facts):
    return [state.budget.name for state in decide_request(key, path, **facts).outcome.states]


def test_own_limit_replaces_the_tiers_limit_on_the_next_request(key, alice, bob, free):
    make_limit(free, "/orders/*", name="orders")
    make_limit(free, "/orders/*", name="orders a day", window="fixed", period=86400)
    make_limit(free, "/users", name="users")
    assert applied_limits(key) == ["orders", "orders a day"]
    limit = make_own_limit(alice, "/orders/*")
    assert applied_limits(key) == ["own /orders/*"]
    assert applied_limits(key, "/users") == ["users"]
    assert applied_limits(make_key(bob)) == ["orders", "orders a day"]
    limit.delete()
    assert applied_limits(key) == ["orders", "orders a day"]


def test_placeholder_names_do_not_matter(key, alice, free):
    make_limit(free, "/orders/{id}", name="orders")
    make_own_limit(alice, "/orders/{number}")
    assert applied_limits(key) == ["own /orders/{number}"]


def test_own_limit_with_another_pattern_competes_with_the_tiers(key, alice, free):
    make_limit(free, "/orders/{id}", name="one order")
    make_own_limit(alice, "/orders/*")
    make_own_limit(alice, "/orders/7", method="POST")
    assert applied_limits(key) == ["one order"]
    assert applied_limits(key, "/orders/7/lines") == ["own /orders/*"]
    assert applied_limits(key, method="POST") == ["own /orders/7"]


def test_own_limit_is_enforced_and_recorded(key, alice, free):
    make_limit(free, "/orders/*", limit=1)
    limit = make_own_limit(alice, limit=3)
    assert [decide_request(key).status for _ in range(4)] == [200, 200, 200, 429]
    assert set(KeyUsage.objects.values_list("rate_limit_id", flat=True)) == {limit.pk}


def test_own_limit_ends_at_its_time(key, alice, free, set_clock_ahead):
    make_limit(free, "/orders/*", name="orders")
    make_own_limit(alice, ends_at=timezone.now() + HOUR)
    assert applied_limits(key) == ["own /orders/*"]
    set_clock_ahead(2 * HOUR)
    assert applied_limits(key) == ["orders"]


def test_own_limits_apply_without_a_tier(alice):
    type(alice).objects.update(tier=None)
    make_own_limit(alice)
    key = make_key(alice)
    assert applied_limits(key) == ["own /orders/*"]
    assert applied_limits(key, "/else") == ["default"]


def test_own_limits_add_no_queries(key, alice, free, monkeypatch, django_assert_num_queries):
    make_limit(free, "/orders/*")
    make_own_limit(alice)
    decide_request(key)
    statements, run = [], lookup.run
    monkeypatch.setattr(lookup, "run", lambda sql, parameters: statements.append(sql) or run(sql, parameters))
    with django_assert_num_queries(0):
        decide_request(key)
    assert len(statements) == 1


def test_lookup_and_queryset_find_the_same_own_limits(key, alice):
    make_own_limit(alice, "/a", host="api.example.com", method="GET", window="week", mode="observe")
    make_own_limit(alice, "/b", overall=True, unit="requests", window="total")
    make_own_limit(alice, "/c").delete()
    make_own_limit(alice, "/d", ends_at=timezone.now() - HOUR)
    found = lookup.find_keys([key.secret])[key.secret].own_limits
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in lookup.json.loads(f"[{found}]")]
    stored = RateLimit.objects.effective().order_by("period", "pk").values(*COLUMNS)
    assert sorted(rows, key=lambda row: (row["period"], row["id"])) == list(stored)
    assert len(rows) == 2


# --- Overall ---


def test_overall_limit_applies_in_addition_to_the_most_specific(key, free):
    make_limit(free, "/*", name="plan", overall=True, limit=3, window="month")
    make_limit(free, "/search", name="search", limit=2)
    forget_rules()
    assert applied_limits(key, "/search") == ["search", "plan"]
    assert applied_limits(key, "/orders") == ["default", "plan"]
    assert decide_request(key, "/search").status == 200
    denied = decide_request(key, "/orders")
    assert denied.status == 429
    assert [state.budget.name for state in denied.outcome.states if state.exceeded] == ["plan"]


def test_denial_by_specific_limit_is_not_charged_to_the_overall_one(key, free):
    make_limit(free, "/*", overall=True, limit=10, name="plan")
    make_limit(free, "/search", limit=1)
    forget_rules()
    assert [decide_request(key, "/search").status for _ in range(3)] == [200, 429, 429]
    assert decide_request(key, "/orders").outcome.states[-1].remaining == 8


def test_all_matching_overall_limits_apply_most_specific_first(key, free):
    make_limit(free, "/*", overall=True, name="all")
    make_limit(free, "/orders/*", overall=True, name="all orders")
    make_limit(free, "/users/*", overall=True, name="all users")
    forget_rules()
    assert applied_limits(key) == ["default", "all orders", "all"]


def test_own_overall_limit_replaces_the_tiers_overall_limit(key, alice, free):
    make_limit(free, "/*", overall=True, name="plan")
    make_limit(free, "/orders/*", overall=True, name="orders plan")
    make_own_limit(alice, "/*", overall=True)
    make_own_limit(alice, "/orders/*")
    forget_rules()
    assert applied_limits(key) == ["own /orders/*", "orders plan", "own /*"]


def test_headers_include_overall_limits(ask, key, free):
    make_limit(free, "/*", name="plan", overall=True, limit=3, window="month")
    make_limit(free, "/search", name="search", limit=2)
    forget_rules()
    headers = ask(key.secret, uri="/search").headers
    assert headers["RateLimit"].startswith('"search";r=1;t=30, "plan";r=2;t=')


# --- Hosts ---


def test_exact_host_precedes_wildcard_precedes_any_host(key, free):
    for host in ("", "*.example.com", "*.eu.example.com", "api.example.com"):
        make_limit(free, "/orders/*", host=host, name=host or "any")
    forget_rules()
    for host, name in (
        ("", "any"),
        ("example.com", "any"),
        ("example.org", "any"),
        ("api.example.com", "api.example.com"),
        ("sandbox.example.com", "*.example.com"),
        ("api.eu.example.com", "*.eu.example.com"),
    ):
        assert applied_limits(key, host=host) == [name]


def test_hosts_are_counted_separately(key, free):
    for host in ("api.example.com", "sandbox.example.com"):
        make_limit(free, "/orders/*", host=host, limit=1)
    forget_rules()
    asked = ["api.example.com", "sandbox.example.com", "api.example.com"]
    assert [decide_request(key, host=host).status for host in asked] == [200, 200, 429]


def test_path_and_method_take_precedence_over_host(key, free):
    make_limit(free, "/orders/{id}", name="path")
    make_limit(free, "/orders/*", host="api.example.com", name="host")
    make_limit(free, "/orders/*", method="POST", name="method")
    forget_rules()
    assert applied_limits(key, host="api.example.com") == ["path"]
    assert applied_limits(key, "/orders", host="api.example.com") == ["host"]
    assert applied_limits(key, "/orders", method="POST", host="api.example.com") == ["method"]


def test_verify_uses_the_host_it_is_given(verify, key, free):
    make_limit(free, "/orders/*", host="api.example.com", name="live")
    forget_rules()
    answer = verify(key=key.secret, method="GET", path="/orders", host="API.example.com:443")
    assert [limit["name"] for limit in answer["limits"]] == ["live"]


# --- The tier's end and the billing day ---


def test_default_tier_applies_after_the_tier_ends(alice, free, pro, set_clock_ahead):
    make_limit(free, "/orders/*", name="free orders")
    make_limit(pro, "/orders/*", name="pro orders")
    type(alice).objects.update(tier=pro, tier_until=timezone.now() + HOUR)
    key = make_key(alice)
    verdict = decide_request(key)
    assert (verdict.key.tier_name, verdict.outcome.states[0].budget.name) == ("pro", "pro orders")
    set_clock_ahead(2 * HOUR)
    verdict = decide_request(key)
    assert (verdict.key.tier_name, verdict.outcome.states[0].budget.name) == ("free", "free orders")


def test_no_tier_applies_after_the_tier_ends_without_a_default(alice, free, pro):
    make_limit(pro, "/orders/*", name="pro orders")
    type(alice).objects.update(tier=pro, tier_until=timezone.now() - HOUR)
    Tier.objects.filter(pk=free.pk).update(deleted_at=timezone.now())
    verdict = decide_request(make_key(alice))
    assert (verdict.key.tier_name, verdict.outcome.states[0].budget.name) == (None, "default")


def test_effective_tier_considers_the_end(alice, free, pro):
    alice.tier = pro
    for until, tier in ((None, pro), (timezone.now() + HOUR, pro), (timezone.now() - HOUR, free)):
        alice.tier_until = until
        assert alice.effective_tier == tier


def test_months_start_on_the_owners_billing_day(alice, free):
    make_limit(free, "/*", window="month", overall=True)
    type(alice).objects.update(billing_day=31)
    forget_rules()
    key = make_key(alice, rate_limit=5, rate_period=60, rate_window="month")
    states = decide_request(key).outcome.states[1:]
    resets = {dt.datetime.fromtimestamp(state.resets_at, dt.UTC) for state in states}
    assert len(states) == 2
    assert len(resets) == 1
    assert (resets.pop() + dt.timedelta(days=1)).day == 1


@pytest.mark.parametrize("window", ["fixed", "week", "month"])
def test_key_limit_can_have_a_window(alice, window):
    key = make_key(alice, rate_limit=2, rate_period=86400, rate_window=window)
    assert [decide_request(key).status for _ in range(3)] == [200, 200, 429]
    budget = decide_request(key).outcome.states[-1].budget
    assert (budget.name, budget.window, budget.is_lasting) == ("key", window, True)


def test_own_limit_applies_to_django_views(alice, free):
    make_limit(free, "/orders/*", name="orders")
    make_own_limit(alice)
    assert own_rules_of(alice.pk).specific.match("/orders").values[0].name == "own /orders/*"
