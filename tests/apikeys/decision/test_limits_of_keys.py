"""Budgets belong to the owner, a key can have its own, and the usage row has the rule that decided."""

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


def test_the_limit_of_a_tier_is_enforced_and_named_in_the_row(ask, limit, alice):
    rule, key = limit(), make_key(alice)
    assert statuses(ask, key, 3, uri="/orders/1") == [200, 200, 429]
    assert set(KeyUsage.objects.values_list("rate_limit_id", flat=True)) == {rule.pk}


def test_all_keys_of_an_owner_share_a_budget_and_no_other_owner_does(ask, limit, alice, bob):
    limit()
    assert statuses(ask, make_key(alice), 1) + statuses(ask, make_key(alice), 2) == [200, 200, 429]
    assert statuses(ask, make_key(bob), 2) == [200, 200]


def test_an_id_in_the_path_does_not_open_a_new_budget(ask, limit, key):
    limit(path="/orders/{id}")
    assert [statuses(ask, key, 1, uri=f"/orders/{number}")[0] for number in range(3)] == [200, 200, 429]


def test_a_keys_own_limit_comes_on_top(ask, alice, counters):
    slow, fast = make_key(alice, rate_limit=1, rate_period=60), make_key(alice)
    assert statuses(ask, slow, 2) == [200, 429]
    assert statuses(ask, fast, 3) == [200] * 3
    assert KeyUsage.objects.get(status_code=429).rate_limit_id is None


def test_a_refusal_by_the_keys_own_limit_takes_nothing_from_the_owner(ask, limit, alice):
    limit(limit=3)
    slow, fast = make_key(alice, rate_limit=1, rate_period=60), make_key(alice)
    assert statuses(ask, slow, 5) == [200, 429, 429, 429, 429]
    assert statuses(ask, fast, 3) == [200, 200, 429]


def test_the_rule_that_refused_is_the_one_named(ask, limit, key):
    limit(limit=100, period=3600)
    tight = limit(limit=1, period=60)
    assert statuses(ask, key, 2) == [200, 429]
    assert KeyUsage.objects.get(status_code=429).rate_limit_id == tight.pk


def test_an_observing_rule_counts_and_never_refuses(ask, limit, key):
    observing = limit(limit=1, mode="observe")
    assert statuses(ask, key, 3) == [200] * 3
    assert set(KeyUsage.objects.values_list("rate_limit_id", flat=True)) == {observing.pk}


def test_an_observing_rule_is_not_blamed_for_another_ones_refusal(ask, limit, key):
    limit(limit=1, period=3600, mode="observe")
    tight = limit(limit=2, period=60)
    assert statuses(ask, key, 3) == [200, 200, 429]
    assert KeyUsage.objects.get(status_code=429).rate_limit_id == tight.pk


def test_a_refused_check_takes_nothing(ask, limit, alice):
    limit()
    narrow = make_key(alice, allow=["read /invoices"])
    assert statuses(ask, narrow, 5) == [403] * 5
    assert statuses(ask, make_key(alice), 2) == [200, 200]


def test_switched_off_everybody_passes(ask, limit, key, settings):
    limit(limit=1)
    settings.RATE_LIMITER_ENABLED = False
    assert statuses(ask, key, 3) == [200] * 3
    assert KeyUsage.objects.count() == 3


def test_totals_are_right_beyond_a_hundred_rows(ask, alice, counters, settings):
    settings.DEFAULT_RATE_LIMIT_LIMIT = 1000
    assert statuses(ask, make_key(alice), 130) == [200] * 130
    assert KeyUsage.objects.filter(user=alice, status_code=200).count() == 130
