"""Limits of one user, overall limits, limits of a host, and a tier that ends: on the next request, and by themselves."""

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
def later(monkeypatch):
    """Make the lookup use a later time."""

    def later(delta):
        now = timezone.now() + delta
        monkeypatch.setattr(lookup.timezone, "now", lambda: now)

    return later


def decided(key, path="/orders/7", *, method="GET", host="", cost=1):
    return decide(Facts(Credential(key.secret), method, path, host=host, cost=cost))


def applied(key, path="/orders/7", **facts):
    return [state.budget.name for state in decided(key, path, **facts).outcome.states]


def test_an_own_limit_replaces_the_tiers_on_its_pattern_on_the_next_request(key, alice, bob, free):
    make_limit(free, "/orders/*", name="orders")
    make_limit(free, "/orders/*", name="orders a day", window="fixed", period=86400)
    make_limit(free, "/users", name="users")
    assert applied(key) == ["orders", "orders a day"]
    limit = make_own_limit(alice, "/orders/*")
    assert applied(key) == ["own /orders/*"]
    assert applied(key, "/users") == ["users"]
    assert applied(make_key(bob)) == ["orders", "orders a day"]
    limit.delete()
    assert applied(key) == ["orders", "orders a day"]


def test_the_name_of_a_segment_does_not_matter(key, alice, free):
    make_limit(free, "/orders/{id}", name="orders")
    make_own_limit(alice, "/orders/{number}")
    assert applied(key) == ["own /orders/{number}"]


def test_a_pattern_that_only_the_user_has_takes_part_like_any_other(key, alice, free):
    make_limit(free, "/orders/{id}", name="one order")
    make_own_limit(alice, "/orders/*")
    make_own_limit(alice, "/orders/7", method="POST")
    assert applied(key) == ["one order"]
    assert applied(key, "/orders/7/lines") == ["own /orders/*"]
    assert applied(key, method="POST") == ["own /orders/7"]


def test_an_own_limit_is_enforced_and_named_in_the_row(key, alice, free):
    make_limit(free, "/orders/*", limit=1)
    limit = make_own_limit(alice, limit=3)
    assert [decided(key).status for _ in range(4)] == [200, 200, 200, 429]
    assert set(KeyUsage.objects.values_list("rate_limit_id", flat=True)) == {limit.pk}


def test_an_own_limit_ends_by_itself(key, alice, free, later):
    make_limit(free, "/orders/*", name="orders")
    make_own_limit(alice, ends_at=timezone.now() + HOUR)
    assert applied(key) == ["own /orders/*"]
    later(2 * HOUR)
    assert applied(key) == ["orders"]


def test_own_limits_apply_without_a_tier(alice):
    type(alice).objects.update(tier=None)
    make_own_limit(alice)
    key = make_key(alice)
    assert applied(key) == ["own /orders/*"]
    assert applied(key, "/else") == ["default"]


def test_own_limits_add_no_statement(key, alice, free, monkeypatch, django_assert_num_queries):
    make_limit(free, "/orders/*")
    make_own_limit(alice)
    decided(key)
    statements, run = [], lookup.run
    monkeypatch.setattr(lookup, "run", lambda sql, parameters: statements.append(sql) or run(sql, parameters))
    with django_assert_num_queries(0):
        decided(key)
    assert len(statements) == 1


def test_the_look_up_and_the_models_read_the_same_rules(key, alice):
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


def test_an_overall_limit_counts_in_addition_to_the_most_specific_ones(key, free):
    make_limit(free, "/*", name="plan", overall=True, limit=3, window="month")
    make_limit(free, "/search", name="search", limit=2)
    forget_rules()
    assert applied(key, "/search") == ["search", "plan"]
    assert applied(key, "/orders") == ["default", "plan"]
    assert decided(key, "/search").status == 200
    denied = decided(key, "/orders")
    assert denied.status == 429
    assert [state.budget.name for state in denied.outcome.states if state.exceeded] == ["plan"]


def test_what_a_specific_limit_denies_costs_the_overall_one_nothing(key, free):
    make_limit(free, "/*", overall=True, limit=10, name="plan")
    make_limit(free, "/search", limit=1)
    forget_rules()
    assert [decided(key, "/search").status for _ in range(3)] == [200, 429, 429]
    assert decided(key, "/orders").outcome.states[-1].remaining == 8


def test_all_overall_limits_that_match_count_the_most_specific_first(key, free):
    make_limit(free, "/*", overall=True, name="all")
    make_limit(free, "/orders/*", overall=True, name="all orders")
    make_limit(free, "/users/*", overall=True, name="all users")
    forget_rules()
    assert applied(key) == ["default", "all orders", "all"]


def test_an_own_overall_limit_replaces_the_tiers_on_its_pattern(key, alice, free):
    make_limit(free, "/*", overall=True, name="plan")
    make_limit(free, "/orders/*", overall=True, name="orders plan")
    make_own_limit(alice, "/*", overall=True)
    make_own_limit(alice, "/orders/*")
    forget_rules()
    assert applied(key) == ["own /orders/*", "orders plan", "own /*"]


def test_headers_name_overall_limits_too(ask, key, free):
    make_limit(free, "/*", name="plan", overall=True, limit=3, window="month")
    make_limit(free, "/search", name="search", limit=2)
    forget_rules()
    headers = ask(key.secret, uri="/search").headers
    assert headers["RateLimit"].startswith('"search";r=1;t=30, "plan";r=2;t=')


# --- Hosts ---


def test_a_named_host_beats_any_and_an_exact_one_a_wildcard(key, free):
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
        assert applied(key, host=host) == [name]


def test_hosts_count_apart(key, free):
    for host in ("api.example.com", "sandbox.example.com"):
        make_limit(free, "/orders/*", host=host, limit=1)
    forget_rules()
    asked = ["api.example.com", "sandbox.example.com", "api.example.com"]
    assert [decided(key, host=host).status for host in asked] == [200, 200, 429]


def test_path_and_method_are_compared_before_the_host(key, free):
    make_limit(free, "/orders/{id}", name="path")
    make_limit(free, "/orders/*", host="api.example.com", name="host")
    make_limit(free, "/orders/*", method="POST", name="method")
    forget_rules()
    assert applied(key, host="api.example.com") == ["path"]
    assert applied(key, "/orders", host="api.example.com") == ["host"]
    assert applied(key, "/orders", method="POST", host="api.example.com") == ["method"]


def test_the_host_in_a_question_decides(verify, key, free):
    make_limit(free, "/orders/*", host="api.example.com", name="live")
    forget_rules()
    answer = verify(key=key.secret, method="GET", path="/orders", host="API.example.com:443")
    assert [limit["name"] for limit in answer["limits"]] == ["live"]


# --- The tier's end and the billing day ---


def test_a_tier_ends_by_itself_and_the_default_one_follows(alice, free, pro, later):
    make_limit(free, "/orders/*", name="free orders")
    make_limit(pro, "/orders/*", name="pro orders")
    type(alice).objects.update(tier=pro, tier_until=timezone.now() + HOUR)
    key = make_key(alice)
    verdict = decided(key)
    assert (verdict.key.tier_name, verdict.outcome.states[0].budget.name) == ("pro", "pro orders")
    later(2 * HOUR)
    verdict = decided(key)
    assert (verdict.key.tier_name, verdict.outcome.states[0].budget.name) == ("free", "free orders")


def test_without_a_default_tier_nothing_follows(alice, free, pro):
    make_limit(pro, "/orders/*", name="pro orders")
    type(alice).objects.update(tier=pro, tier_until=timezone.now() - HOUR)
    Tier.objects.filter(pk=free.pk).update(deleted_at=timezone.now())
    verdict = decided(make_key(alice))
    assert (verdict.key.tier_name, verdict.outcome.states[0].budget.name) == (None, "default")


def test_pages_see_the_tier_end_too(alice, free, pro):
    alice.tier = pro
    for until, tier in ((None, pro), (timezone.now() + HOUR, pro), (timezone.now() - HOUR, free)):
        alice.tier_until = until
        assert alice.effective_tier == tier


def test_months_begin_on_the_owners_billing_day(alice, free):
    make_limit(free, "/*", window="month", overall=True)
    type(alice).objects.update(billing_day=31)
    forget_rules()
    key = make_key(alice, rate_limit=5, rate_period=60, rate_window="month")
    states = decided(key).outcome.states[1:]
    resets = {dt.datetime.fromtimestamp(state.resets_at, dt.UTC) for state in states}
    assert len(states) == 2
    assert len(resets) == 1
    assert (resets.pop() + dt.timedelta(days=1)).day == 1


@pytest.mark.parametrize("window", ["fixed", "week", "month"])
def test_a_keys_own_limit_has_a_window(alice, window):
    key = make_key(alice, rate_limit=2, rate_period=86400, rate_window=window)
    assert [decided(key).status for _ in range(3)] == [200, 200, 429]
    budget = decided(key).outcome.states[-1].budget
    assert (budget.name, budget.window, budget.is_lasting) == ("key", window, True)


def test_an_own_limit_of_a_django_view_applies_too(alice, free):
    make_limit(free, "/orders/*", name="orders")
    make_own_limit(alice)
    assert own_rules_of(alice.pk).specific.match("/orders").values[0].name == "own /orders/*"
