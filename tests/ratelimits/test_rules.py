from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from ratelimits import rules
from ratelimits.advice import never_wins, takes_over_from
from ratelimits.budgets import rate_in_words
from ratelimits.models import RateLimit
from ratelimits.rules import budgets_for, forget_rules, owner_of_address, rules_for_tier
from tests.rows import make_limit


def names(budgets):
    return [budget.name for budget in budgets]


# --- Budgets ---


def test_all_limits_of_the_best_pattern_apply(free):
    second = make_limit(free, "/orders/{id}", period=1, name="burst")
    make_limit(free, "/orders/{id}", period=86400, window="fixed", name="quota", limit=1000)
    make_limit(free, "/orders/*", name="wide")
    budgets = budgets_for("user:7", free.pk, "GET", "/orders/5")
    assert names(budgets) == ["burst", "quota"]
    assert budgets[0] == second.budget("user:7")
    assert budgets[0].key == f"user:7/rule:{second.pk}"


def test_placeholder_values_share_a_counter(free):
    make_limit(free, "/orders/{id}")
    assert budgets_for("user:7", free.pk, "GET", "/orders/5") == budgets_for("user:7", free.pk, "GET", "/orders/6")


def test_changing_a_limit_keeps_its_counter(free):
    row = make_limit(free, "/orders")
    before = budgets_for("user:7", free.pk, "GET", "/orders")[0].key
    row.limit = 20
    row.save()
    forget_rules()
    after = budgets_for("user:7", free.pk, "GET", "/orders")[0]
    assert (after.key, after.limit) == (before, 20)


def test_unmatched_requests_share_the_default_budget(free, settings):
    settings.DEFAULT_RATE_LIMIT_LIMIT, settings.DEFAULT_RATE_LIMIT_PERIOD = 5, 30
    make_limit(free, "/orders")
    first, second = (budgets_for("user:7", free.pk, "GET", path)[0] for path in ("/a", "/b"))
    assert first == second
    assert (first.key, first.limit, first.period, first.name) == ("user:7/default", 5, 30, "default")


def test_default_applies_without_a_tier(db):
    assert names(budgets_for("user:7", None, "GET", "/orders")) == ["default"]


@pytest.mark.parametrize("end", ["the limit", "the tier"])
def test_deleted_limit_or_tier_no_longer_applies(free, end):
    row = make_limit(free, "/orders", name="orders")
    if end == "the limit":
        row.delete()
    else:
        type(free).objects.filter(pk=free.pk).update(deleted_at=row.updated_at)
    assert names(budgets_for("user:7", free.pk, "GET", "/orders")) == ["default"]


def test_rules_are_cached_for_a_few_seconds(free, monkeypatch, django_assert_num_queries):
    now = [1000.0]
    monkeypatch.setattr(rules.time, "monotonic", lambda: now[0])
    row = make_limit(free, "/orders", name="orders")
    with django_assert_num_queries(1):
        first = rules_for_tier(free.pk)
    with django_assert_num_queries(0):
        assert rules_for_tier(free.pk) is first
    now[0] += rules.CACHE_SECONDS
    with django_assert_num_queries(1):
        assert rules_for_tier(free.pk) is first
    row.delete()
    now[0] += rules.CACHE_SECONDS
    assert rules.CACHE_SECONDS < 5
    assert rules_for_tier(free.pk).specific.match("/orders", "GET") is None


def test_change_with_an_older_timestamp_is_noticed(free, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(rules.time, "monotonic", lambda: now[0])
    forget_rules()
    limit = RateLimit.objects.create(tier=free, path="/orders", limit=10)
    RateLimit.objects.create(tier=free, path="/later", limit=10)
    assert rules_for_tier(free.pk).specific.match("/orders").values[0].limit == 10
    # As if in a transaction that began before the latest change and ended after it.
    QuerySet(RateLimit).filter(pk=limit.pk).update(limit=5, updated_at=limit.updated_at)
    now[0] += rules.CACHE_SECONDS
    assert rules_for_tier(free.pk).specific.match("/orders").values[0].limit == 5
    forget_rules()


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("192.0.2.7", "addr:192.0.2.7"),
        ("::ffff:192.0.2.7", "addr:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "addr:2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "addr:2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "addr:2001:db8:1:3::/64"),
        ("", "addr:unknown"),
        ("nonsense", "addr:unknown"),
    ],
)
def test_owner_of_address(address, owner):
    assert owner_of_address(address) == owner


# --- Words ---


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((100, 60), "100 per minute"),
        ((1, 1), "1 per second"),
        ((10_000, 86400), "10,000 per day"),
        ((5, 604800), "5 per week"),
        ((5, 90), "5 per 90 seconds"),
        ((5, 7200), "5 per 2 hours"),
        ((5, 86400, "fixed"), "5 per day (UTC)"),
        ((5, 1, "month"), "5 per month"),
    ],
)
def test_limits_in_words(figures, words):
    assert rate_in_words(*figures) == words


# --- Validation ---


def validation_errors(tier, path, **fields):
    row = RateLimit(**{"tier": tier, "path": path, "limit": 5, "period": 60} | fields)
    with pytest.raises(ValidationError) as error:
        row.full_clean()
    return error.value.message_dict


@pytest.mark.parametrize(("field", "value"), [("limit", 0), ("limit", -1), ("limit", 2**63), ("period", 0),
                                              ("period", 2_678_401), ("period", -5)])  # fmt: skip
def test_number_out_of_range_is_a_field_error(free, field, value):
    assert field in validation_errors(free, "/orders", **{field: value})


def test_invalid_pattern_is_a_field_error(free):
    assert "only as the last segment" in validation_errors(free, "/a/*/b")["path"][0]


def test_limit_that_would_never_apply_is_rejected_with_a_reason(free):
    for path in ("/orders", "/orders/{id}/*"):
        make_limit(free, path)
    message = validation_errors(free, "/orders/*")["path"][0]
    assert "would never apply" in message
    assert "/orders, /orders/{id}/*" in message


def test_pattern_that_only_differs_in_names_is_rejected(free):
    make_limit(free, "/orders/{id}")
    assert "matches the same requests as /orders/{id}" in validation_errors(free, "/orders/{order}")["path"][0]
    RateLimit(tier=free, path="/orders/{order}", limit=5, period=3600).full_clean()


def test_unchanged_limit_is_valid(free):
    row = make_limit(free, "/orders/")
    row.full_clean()
    assert row.path == "/orders"


@pytest.mark.parametrize(
    ("rule", "others", "beaten_by"),
    [
        (("", "/a/*"), [("", "/a")], []),
        (("", "/a/*"), [("", "/a"), ("", "/a/{x}"), ("", "/a/{x}/{y}/*")], ["/a", "/a/{x}", "/a/{x}/{y}/*"]),
        (("GET", "/a/*"), [("POST", "/a"), ("POST", "/a/{x}/*")], []),
        (("", "/a"), [(name, "/a") for name in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")],
         ["GET /a", "POST /a", "PUT /a", "PATCH /a", "DELETE /a", "OPTIONS /a"]),
        (("", "/a"), [("GET", "/a")], []),
        (("", "/{x}"), [("", "/a"), ("", "/b")], []),
        (("", "/*"), [], []),
    ],
)  # fmt: skip
def test_never_wins(rule, others, beaten_by):
    assert never_wins(rule, others) == beaten_by


def test_takes_over_from():
    others = [("", "/orders/*"), ("", "/users/*"), ("GET", "/orders/5"), ("", "/orders")]
    assert takes_over_from(("", "/orders/{id}"), others) == {"/orders/*": False}
    assert takes_over_from(("", "/orders/{id}/*"), others) == {"/orders/*": True}
    assert takes_over_from(("GET", "/users"), others) == {"/users/*": False}
    assert takes_over_from(("", "/elsewhere"), others) == {}
