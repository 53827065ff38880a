"""Lasting budgets are counted in the database, so that Redis failures don't affect them."""

from __future__ import annotations

import datetime as dt

import pytest
import redis

from ratelimits.budgets import Budget, Charge, Counter, microseconds
from ratelimits.limiter import QUOTA_TIMEOUT, Outcome, limiter
from ratelimits.limiter import make_store as make_limiter_store
from ratelimits.stores import StoreUnavailable
from ratelimits.stores.postgresql import PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.split import SplitStore
from tests.ratelimits.conftest import ON_POSTGRESQL
from tests.services import redis_url

pytestmark = [pytest.mark.postgresql, pytest.mark.redis, pytest.mark.django_db]

NOON = microseconds(dt.datetime(2026, 3, 14, 12, tzinfo=dt.UTC))
MINUTE = Budget("user:1/rule:1", 5, 60, name="minute")
MONTH = Budget("user:1/rule:2", 8, 2_678_400, "month", name="month")
DAY = Budget("user:1/rule:3", 3, 86_400, "fixed", name="day")
DURABLE = ("sqlite", *ON_POSTGRESQL)


@pytest.fixture
def split(make_store, use_store):
    store = make_store("redis")
    use_store(store)
    return store


@pytest.fixture(params=DURABLE)
def durable(request, make_store):
    return make_store(request.param)


@pytest.fixture
def without_redis(durable, use_store, transactional_db):
    """A limiter whose Redis is down."""
    store = SplitStore(RedisStore("redis://127.0.0.1:1/0"), durable)
    yield use_store(store)
    store.close()


def used(store, budget):
    counter = store.peek([budget], clock=NOON).counters[0]
    return 0 if counter is None else counter.used or counter.at


def remaining(outcome: Outcome):
    return {state.budget.name: state.remaining for state in outcome.states}


def test_flushing_redis_does_not_reset_monthly_quotas(split):
    for _ in range(3):
        assert limiter().hit([MINUTE, MONTH]).allowed
    with redis.Redis.from_url(redis_url()) as client:
        client.flushdb()
    assert remaining(limiter().peek([MINUTE, MONTH])) == {"minute": 5, "month": 5}
    for _ in range(5):
        assert limiter().hit([MONTH]).allowed
    outcome = limiter().hit([MINUTE, MONTH])
    assert not outcome.allowed
    assert [state.budget.name for state in outcome.states if state.exceeded] == ["month"]
    assert remaining(outcome) == {"minute": 5, "month": 0}


@pytest.mark.parametrize("full", [MINUTE, DAY])
def test_denied_request_is_charged_to_neither_store(split, full):
    other = MONTH if full == MINUTE else MINUTE
    while split.hit([full], clock=NOON).allowed:
        pass
    for budgets in ([full, other], [other, full]):
        assert not split.hit(budgets, clock=NOON).allowed
    assert used(split, other) == 0


def test_requests_of_a_batch_are_charged_in_order(split):
    """The second is denied by its daily limit, so the third gets the last request of the minute."""
    minute, day, last = MINUTE._replace(limit=2), DAY._replace(limit=1), MONTH._replace(limit=1)
    readings = split.hit_many(
        [Charge([minute, day]), Charge([day, minute]), Charge([last, minute]), Charge([last]), Charge([minute])],
        clock=NOON,
    )
    assert [reading.allowed for reading in readings] == [True, False, True, False, False]
    assert [reading.fits for reading in readings] == [(True, True), (False, True), (True, True), (False,), (False,)]


def test_cost_and_cost_0_count_as_in_one_store(split):
    assert split.hit([MINUTE, MONTH], 5, clock=NOON).allowed
    assert split.hit([MINUTE, MONTH], 0, clock=NOON).counters[1].used == 5
    assert not split.hit([MINUTE._replace(key="other"), MONTH], 4, clock=NOON).allowed
    assert used(split, MONTH) == 5


def test_reset_sweep_and_count_cover_both_stores(split):
    split.hit([MINUTE, MONTH], clock=NOON)
    assert split.count() == 2
    split.reset([MONTH.key])
    assert used(split, MONTH) == 0
    split.hit([DAY], clock=NOON)
    assert split.sweep(clock=NOON + 2 * 86_400 * 1_000_000) == 1
    assert not split.ping()


def test_quotas_are_enforced_without_redis(without_redis, durable):
    assert [without_redis.hit([MINUTE, DAY]).allowed for _ in range(5)] == [True] * 3 + [False] * 2
    outcome = without_redis.hit([MINUTE, DAY])
    assert (outcome.degraded, remaining(outcome)) == (True, {"day": 0})
    assert remaining(without_redis.peek([MINUTE, DAY])) == {"day": 0}
    assert without_redis.hit([MINUTE]) == Outcome(allowed=True, degraded=True)


def test_request_with_only_quotas_needs_no_redis(without_redis, settings):
    settings.RATE_LIMIT_FAIL_OPEN = False
    outcomes = without_redis.hit_many([Charge([MINUTE, DAY]), Charge([DAY])])
    assert [(outcome.allowed, outcome.degraded) for outcome in outcomes] == [(False, True), (True, False)]
    # The denied one wasn't charged.
    assert remaining(outcomes[1]) == {"day": 2}


def test_quotas_have_a_longer_timeout_than_redis(settings, transactional_db):
    settings.REDIS_URL, settings.RATE_LIMIT_STORE_TIMEOUT = redis_url(), 40
    store = make_limiter_store("redis")
    assert (store.short._timeout, store.lasting._timeout) == (0.04, QUOTA_TIMEOUT)


def test_nothing_is_charged_if_redis_fails(durable):
    store = SplitStore(RedisStore("redis://127.0.0.1:1/0"), durable)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="Redis"):
            store.hit([MINUTE, DAY], clock=NOON)
    assert used(durable, DAY) == 0
    # And nothing stays locked.
    assert durable.hit([DAY], clock=NOON).allowed
    store.close()


def test_durable_store_that_fails_on_write_is_unavailable(durable):
    with pytest.raises(StoreUnavailable), durable.held([DAY.counter_key], clock=NOON) as held:
        held.counters[DAY.counter_key] = Counter(None, 1, 1)
    assert used(durable, DAY) == 0


@pytest.mark.skipif(not ON_POSTGRESQL, reason="needs PostgreSQL")
def test_quota_locked_for_too_long_is_not_charged(make_store, monkeypatch):
    monkeypatch.setattr("ratelimits.stores.postgresql.MAX_WAIT", 0.1)
    store, other = make_store("postgresql"), PostgreSQLStore()
    with (
        store.held([DAY.counter_key]),
        pytest.raises(StoreUnavailable, match="PostgreSQL"),
        other.held([DAY.counter_key]),
    ):
        raise AssertionError("held twice")
    assert store.hit([DAY]).allowed
    other.close()


@pytest.mark.skipif(not ON_POSTGRESQL, reason="needs PostgreSQL")
def test_connection_lost_while_waiting_for_a_quota_is_an_outage(make_store, monkeypatch):
    store = make_store("postgresql")
    store.hit([DAY])
    monkeypatch.setattr(
        "ratelimits.stores.postgresql.HOLD", "SELECT pg_terminate_backend(pg_backend_pid()), %s::text[]"
    )
    with pytest.raises(StoreUnavailable, match="PostgreSQL"), store.held([DAY.counter_key]):
        raise AssertionError("held without a connection")
    assert store.hit([DAY]).allowed
