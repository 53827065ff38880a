"""Owners have budgets, a key can have a limit of its own, and the usage row has the limit that decided."""

from __future__ import annotations

import pytest

from apikeys.models import KeyUsage
from ratelimits.models import RateLimit
from ratelimits.rules import forget_rules
from tests.apikeys.conftest import make_key

# As in production: inside a transaction, PostgreSQL would use other statements.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def limit(free, counters):
    def limit(**fields):
        rule = RateLimit.objects.create(tier=free, **{"path": "/orders/*", "limit": 2, "period": 60} | fields)
        forget_rules()
        return rule

    return limit


def statuses(ask, key, times, **question):
    return [int(ask(key.secret, **question).headers.get("X-Auth-Status", 200)) for _ in range(times)]


def test_tier_limit_is_enforced_and_recorded(ask, limit, alice):
    rule, key = limit(), make_key(alice)
    assert statuses(ask, key, 3, uri="/orders/1") == [200, 200, 429]
    assert set(KeyUsage.objects.values_list("rate_limit_id", flat=True)) == {rule.pk}


def test_keys_of_an_owner_share_a_budget(ask, limit, alice, bob):
    limit()
    assert statuses(ask, make_key(alice), 1) + statuses(ask, make_key(alice), 2) == [200, 200, 429]
    assert statuses(ask, make_key(bob), 2) == [200, 200]


def test_ids_in_the_path_share_a_budget(ask, limit, key):
    limit(path="/orders/{id}")
    assert [statuses(ask, key, 1, uri=f"/orders/{number}")[0] for number in range(3)] == [200, 200, 429]


def test_key_limit_applies_in_addition(ask, alice, counters):
    slow, fast = make_key(alice, rate_limit=1, rate_period=60), make_key(alice)
    assert statuses(ask, slow, 2) == [200, 429]
    assert statuses(ask, fast, 3) == [200] * 3
    assert KeyUsage.objects.get(status_code=429).rate_limit_id is None


def test_denial_by_key_limit_is_not_charged_to_the_owner(ask, limit, alice):
    limit(limit=3)
    slow, fast = make_key(alice, rate_limit=1, rate_period=60), make_key(alice)
    assert statuses(ask, slow, 5) == [200, 429, 429, 429, 429]
    assert statuses(ask, fast, 3) == [200, 200, 429]


def test_row_has_the_limit_that_denied(ask, limit, key):
    limit(limit=100, period=3600)
    tight = limit(limit=1, period=60)
    assert statuses(ask, key, 2) == [200, 429]
    assert KeyUsage.objects.get(status_code=429).rate_limit_id == tight.pk


def test_observed_limit_counts_and_never_denies(ask, limit, key):
    observing = limit(limit=1, mode="observe")
    assert statuses(ask, key, 3) == [200] * 3
    assert set(KeyUsage.objects.values_list("rate_limit_id", flat=True)) == {observing.pk}


def test_row_has_the_enforced_limit_not_the_observed_one(ask, limit, key):
    limit(limit=1, period=3600, mode="observe")
    tight = limit(limit=2, period=60)
    assert statuses(ask, key, 3) == [200, 200, 429]
    assert KeyUsage.objects.get(status_code=429).rate_limit_id == tight.pk


def test_denial_before_limits_is_not_charged(ask, limit, alice):
    limit()
    narrow = make_key(alice, allow=["read /invoices"])
    assert statuses(ask, narrow, 5) == [403] * 5
    assert statuses(ask, make_key(alice), 2) == [200, 200]


def test_no_one_is_limited_when_limits_are_off(ask, limit, key, settings):
    limit(limit=1)
    settings.RATE_LIMITER_ENABLED = False
    assert statuses(ask, key, 3) == [200] * 3
    assert KeyUsage.objects.count() == 3


def test_totals_are_right_beyond_100_rows(ask, alice, counters, settings):
    settings.DEFAULT_RATE_LIMIT_LIMIT = 1000
    assert statuses(ask, make_key(alice), 130) == [200] * 130
    assert KeyUsage.objects.filter(user=alice, status_code=200).count() == 130
