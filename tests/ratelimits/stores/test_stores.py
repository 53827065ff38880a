"""Tests that every store must pass."""

from __future__ import annotations

import datetime as dt
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimits.budgets import Budget, microseconds
from ratelimits.limiter import Limiter, outcome_of
from ratelimits.stores.memory import MemoryStore
from tests.ratelimits.processes import address_of, hit_repeatedly, open_and_hit_repeatedly
from tests.waiting import wait_until

SECOND = 1_000_000
HOUR = 3600 * SECOND
NOON = microseconds(dt.datetime(2026, 3, 14, 12, tzinfo=dt.UTC))
EACH_WINDOW = pytest.mark.parametrize("window", ["rolling", "fixed", "week", "month", "total"])


def make_budget(**changes):
    return Budget(**{"key": "user:1/rule:1", "limit": 100, "period": 60} | changes)


def count_allowed(store, budgets, times, clock):
    return sum(store.hit(budgets, clock=clock).allowed for _ in range(times))


# --- One budget ---


@EACH_WINDOW
def test_limit_is_enforced_exactly(store, window):
    assert count_allowed(store, [make_budget(limit=7, window=window)], 10, NOON) == 7


@EACH_WINDOW
def test_budgets_with_different_keys_are_independent(store, window):
    count_allowed(store, [make_budget(limit=2, window=window)], 2, NOON)
    assert store.hit([make_budget(key="user:2/rule:1", limit=2, window=window)], clock=NOON).allowed


def test_rolling_budget_refills_evenly(store):
    budget = make_budget(limit=6)  # one every 10 seconds
    count_allowed(store, [budget], 6, NOON)
    assert not store.hit([budget], clock=NOON + 10 * SECOND - 1).allowed
    assert store.hit([budget], clock=NOON + 10 * SECOND).allowed
    assert not store.hit([budget], clock=NOON + 10 * SECOND).allowed


def test_fixed_window_ends_at_a_multiple_of_its_period(store):
    budget = make_budget(limit=2, window="fixed")
    assert count_allowed(store, [budget], 3, NOON + 59 * SECOND) == 2
    assert count_allowed(store, [budget], 3, NOON + 60 * SECOND) == 2
    assert count_allowed(store, [budget], 3, NOON + 119_999_999) == 0


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ("2026-02-28T23:59:59.999999", "2026-03-01T00:00:00"),
        ("2028-02-29T23:59:59.999999", "2028-03-01T00:00:00"),
        ("2026-12-31T23:59:59.999999", "2027-01-01T00:00:00"),
        ("2026-04-30T23:59:59.999999", "2026-05-01T00:00:00"),
    ],
)
def test_month_ends_with_the_calendar_month_in_utc(store, last, first):
    budget = make_budget(limit=2, window="month")
    last, first = (microseconds(dt.datetime.fromisoformat(f"{text}+00:00")) for text in (last, first))
    assert count_allowed(store, [budget], 3, last) == 2
    assert count_allowed(store, [budget], 3, first) == 2
    assert not store.hit([budget], clock=first + 20 * 24 * HOUR).allowed


@EACH_WINDOW
def test_cost_counts_as_that_many_requests(store, window):
    budget = make_budget(limit=10, window=window)
    assert store.hit([budget], 7, clock=NOON).allowed
    assert not store.hit([budget], 4, clock=NOON).allowed
    assert store.hit([budget], 3, clock=NOON).allowed


@EACH_WINDOW
def test_cost_above_the_limit_is_denied_and_not_charged(store, window):
    budget = make_budget(limit=10, window=window)
    assert not store.hit([budget], 11, clock=NOON).allowed
    assert not store.hit([budget], 2**62, clock=NOON).allowed
    assert store.hit([budget], 10, clock=NOON).allowed


@EACH_WINDOW
def test_denied_request_is_not_charged(store, window):
    budget = make_budget(limit=2, window=window)
    count_allowed(store, [budget], 2, NOON)
    before = store.peek([budget], clock=NOON).counters
    count_allowed(store, [budget], 50, NOON)
    assert store.peek([budget], clock=NOON).counters == before


@EACH_WINDOW
def test_peek_is_not_charged(store, window):
    budget = make_budget(limit=1, window=window)
    assert [store.peek([budget], clock=NOON).allowed for _ in range(3)] == [True] * 3
    assert store.hit([budget], clock=NOON).allowed
    assert not store.peek([budget], clock=NOON).allowed


@EACH_WINDOW
def test_reset_clears_a_counter(store, window):
    budget = make_budget(limit=1, window=window)
    store.hit([budget], clock=NOON)
    store.reset(["another key", budget.key])
    assert store.hit([budget], clock=NOON).allowed


@EACH_WINDOW
def test_largest_limit_and_period_are_counted(store, window):
    budget = make_budget(limit=2**31 - 1, period=2_678_400, window=window)
    assert store.hit([budget], clock=NOON).allowed
    assert store.hit([budget], 2**31 - 2, clock=NOON).allowed
    assert not store.hit([budget], clock=NOON).allowed


def test_key_can_contain_any_characters(store):
    budget = make_budget(key="addr:2001:db8::/64/%s'; DROP TABLE counter; -- {} é \\ \" \n", limit=1)
    assert store.hit([budget], clock=NOON).allowed
    assert not store.hit([budget], clock=NOON).allowed


# --- Remaining and retry times ---


@pytest.mark.parametrize(
    ("limit", "period", "window"), [(100, 60, "rolling"), (7, 61, "rolling"), (5, 60, "fixed"), (3, 1, "month")]
)
def test_retry_after_is_exact_to_the_second(store, limit, period, window):
    budget, clock, rng = make_budget(limit=limit, period=period, window=window), NOON + 123_457, random.Random(4)
    for _ in range(20):
        while (reading := store.hit([budget], clock=clock)).allowed:
            clock += rng.randrange(1000)
        promised = outcome_of([budget], reading).retry_after
        assert promised >= 1
        assert not store.peek([budget], clock=clock + (promised - 1) * SECOND).allowed
        clock += promised * SECOND
        assert store.hit([budget], clock=clock).allowed


@EACH_WINDOW
def test_remaining_counts_down_to_zero(store, window):
    budget = make_budget(limit=5, window=window)
    reported = [outcome_of([budget], store.hit([budget], clock=NOON)).states[0].remaining for _ in range(6)]
    assert reported == [4, 3, 2, 1, 0, 0]


# --- Guarantees over time ---


def test_rolling_limit_holds_in_every_interval(make_store):
    """At most N + ceil(N·Δ/P) in any interval Δ, for a client that makes requests all the time."""
    store, limit, period = make_store("memory"), 20, 10
    budget, clock, times, rng = make_budget(limit=limit, period=period), NOON, [], random.Random(1)
    for _ in range(20_000):
        clock += rng.choice([0, 1000, 20_000, 700_000])
        if store.hit([budget], clock=clock).allowed:
            times.append(clock)
    for first in range(0, len(times), 7):
        for last in range(first, min(first + 200, len(times))):
            interval = times[last] - times[first]
            assert last - first + 1 <= limit + -(-limit * interval // (period * SECOND))


@pytest.mark.parametrize(("burst", "every"), [(30, 20.7), (50, 30.5), (100, 60.5)])
def test_bursts_within_the_limit_are_never_denied(make_store, burst, every):
    store, budget, rng = make_store("memory"), make_budget(), random.Random(2)
    refused = 0
    for number in range(100_000 // burst):
        clock = NOON + round(number * every * SECOND)
        for _ in range(burst):
            refused += not store.hit([budget], clock=clock).allowed
            clock += rng.randrange(1000)
    assert refused == 0


@pytest.mark.parametrize("window", ["fixed", "week", "month"])
def test_quota_is_never_exceeded_in_a_window(make_store, window):
    store, budget, rng = make_store("memory"), make_budget(limit=10, period=3600, window=window), random.Random(3)
    clock, counted = NOON, {}
    for _ in range(5000):
        clock += rng.choice([0, SECOND, 200 * SECOND, 5 * HOUR])
        if store.hit([budget], clock=clock).allowed:
            counted[budget.bounds(clock)] = counted.get(budget.bounds(clock), 0) + 1
    assert max(counted.values()) == 10


# --- A clock that steps back ---


@pytest.mark.parametrize("window", ["rolling", "fixed", "week", "month"])
@pytest.mark.parametrize("back", [1, SECOND, 60 * SECOND, HOUR, 400 * 24 * HOUR])
def test_clock_stepping_back_does_not_lock_anyone_out(store, window, back):
    budget = make_budget(limit=3, window=window)
    count_allowed(store, [budget], 3, NOON)
    patience = 2 * max(60 * SECOND, 31 * 24 * HOUR if window in {"week", "month"} else 0)
    clock = NOON - back
    assert store.hit([budget], clock=clock).allowed or store.hit([budget], clock=clock + patience).allowed


def test_budget_recovers_one_minute_after_a_step_back_of_an_hour(store):
    for window in ("rolling", "fixed"):
        budget = make_budget(key=window, limit=3, window=window)
        count_allowed(store, [budget], 3, NOON)
        assert count_allowed(store, [budget], 4, NOON - HOUR + 60 * SECOND) == 3


def test_small_step_back_does_not_reset_a_budget(store):
    for window in ("rolling", "fixed"):
        budget = make_budget(key=window, limit=3, window=window)
        count_allowed(store, [budget], 3, NOON)
        assert count_allowed(store, [budget], 3, NOON - SECOND // 2) == 0


# --- Limits that change ---


@EACH_WINDOW
@pytest.mark.parametrize("new", [1, 50, 99, 101, 200])
def test_changing_the_limit_does_not_reset_the_quota(store, window, new):
    count_allowed(store, [make_budget(window=window)], 100, NOON)
    at_once = count_allowed(store, [make_budget(window=window, limit=new)], new + 1, NOON)
    assert at_once == (0 if window == "rolling" else max(0, new - 100))
    assert count_allowed(store, [make_budget(window=window)], 100, NOON) == 0


def test_rolling_limit_keeps_the_used_share_after_a_change(store):
    count_allowed(store, [make_budget()], 50, NOON)
    assert outcome_of([make_budget(limit=10)], store.peek([make_budget(limit=10)], clock=NOON)).states[0].remaining == 5
    longer = make_budget(limit=10, period=3600)
    assert outcome_of([longer], store.peek([longer], clock=NOON)).states[0].remaining in {4, 5}
    assert count_allowed(store, [longer], 10, NOON) in {4, 5}


@pytest.mark.parametrize(("old", "new"), [(60, 3600), (3600, 60), (86400, 60), (60, 86400)])
@pytest.mark.parametrize("window", ["rolling", "fixed"])
def test_changing_the_period_does_not_reset_the_quota(store, window, old, new):
    if window == "fixed" and {old, new} == {60, 86400}:
        # Quotas of a day or more use another kind of counter, which survives a crash.
        old, new = min(old, 7200), min(new, 7200)
    count_allowed(store, [make_budget(limit=10, period=old, window=window)], 10, NOON)
    assert count_allowed(store, [make_budget(limit=10, period=new, window=window)], 1, NOON) == 0


# --- Several budgets ---


def per_second_and_day(**changes):
    return [
        make_budget(key="user:1/rule:1", limit=3, period=1, **changes),
        make_budget(key="user:1/rule:2", limit=5, period=86400, window="fixed"),
        make_budget(key="user:1/rule:3", limit=100, window="month"),
    ]


def test_tightest_of_several_budgets_decides(store):
    budgets = per_second_and_day()
    assert count_allowed(store, budgets, 5, NOON) == 3
    assert count_allowed(store, budgets, 5, NOON + 2 * SECOND) == 2
    assert count_allowed(store, budgets, 5, NOON + 4 * SECOND) == 0


@pytest.mark.parametrize("reverse", [False, True])
def test_denial_by_one_budget_charges_no_other(store, reverse):
    full = make_budget(key="b", limit=1)
    others = [make_budget(key="a"), make_budget(key="c", window="fixed"), make_budget(key="d", window="month")]
    store.hit([full], clock=NOON)
    store.hit(others, clock=NOON)
    before = outcome_of(others, store.peek(others, clock=NOON)).states
    budgets = [*others[:1], full, *others[1:]]
    reading = store.hit(budgets[::-1] if reverse else budgets, clock=NOON)
    assert not reading.allowed
    assert sorted(reading.fits) == [False, True, True, True]
    assert outcome_of(others, store.peek(others, clock=NOON)).states == before


def test_readings_have_the_order_of_the_budgets(store):
    budgets = [make_budget(key=key, limit=limit) for key, limit in (("z", 5), ("a", 7), ("m", 3))]
    states = outcome_of(budgets, store.hit(budgets, clock=NOON)).states
    assert [(state.budget.key, state.remaining) for state in states] == [("z", 4), ("a", 6), ("m", 2)]


# --- Observing ---


@EACH_WINDOW
def test_observed_budget_counts_and_never_denies(store, window):
    observed, enforced = make_budget(key="w", limit=2, observe=True, window=window), make_budget(key="e", limit=4)
    fits = [store.hit([observed, enforced], clock=NOON).fits for _ in range(4)]
    assert fits == [(True, True), (True, True), (False, True), (False, True)]
    assert not store.hit([observed, enforced], clock=NOON).allowed
    assert store.hit([observed], 5, clock=NOON).allowed


def test_denied_request_is_not_charged_to_observed_budgets(store):
    observed, enforced = make_budget(key="a", observe=True), make_budget(key="e", limit=1)
    count_allowed(store, [observed, enforced], 5, NOON)
    assert outcome_of([observed], store.peek([observed], clock=NOON)).states[0].remaining == 99


# --- Sweeping ---


def test_expired_counters_are_swept_in_batches(store):
    if store.name == "redis":
        pytest.skip("Redis expires its keys itself.")
    for number in range(50):
        store.hit([make_budget(key=f"dead:{number}", period=1)], clock=NOON)
        store.hit([make_budget(key=f"live:{number}", limit=1, period=3600)], clock=NOON)
    removed = [store.sweep(batch=30, clock=NOON + 60 * SECOND) for _ in range(4)]
    assert sum(removed) == 50
    assert max(removed) <= 30
    assert store.count() == 50
    assert not store.hit([make_budget(key="live:7", limit=1, period=3600)], clock=NOON + 60 * SECOND).allowed


@pytest.mark.redis
def test_redis_expires_counters_itself(make_store):
    store = make_store("redis")
    store.hit([make_budget(limit=1, period=1), make_budget(key="longer", limit=1)])
    assert store.count() == 2
    wait_until(lambda: store.count() == 1)
    assert store.sweep() == 0


# --- Agreement between stores ---


@st.composite
def histories(draw):
    """Requests over time, with changing limits and a clock that sometimes steps back."""
    moves = st.one_of(
        st.integers(0, 3 * SECOND), st.integers(0, 100 * HOUR), st.integers(-2 * SECOND, 0), st.just(-HOUR)
    )
    budgets = st.builds(
        Budget,
        key=st.sampled_from(["a", "b", "c"]),
        limit=st.sampled_from([1, 2, 3, 7, 10**6]),
        period=st.sampled_from([1, 7, 60, 3600]),
        window=st.sampled_from(["rolling", "rolling", "fixed", "week", "month", "total"]),
        name=st.just(""),
        rule_id=st.none(),
        unit=st.just("requests"),
        billing_day=st.sampled_from([1, 15, 28, 31]),
        observe=st.sampled_from([False, False, False, True]),
    )
    several = st.lists(budgets, min_size=1, max_size=3, unique_by=lambda budget: budget.key)
    return draw(st.lists(st.tuples(moves, several, st.sampled_from([1, 1, 1, 2, 5])), min_size=1, max_size=25))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_stores_agree_with_the_memory_store(shared_store, history):
    shared_store.clear()
    reference, clock = MemoryStore(), NOON
    for move, budgets, cost in history:
        clock += move
        expected = reference.hit(budgets, cost, clock=clock)
        found = shared_store.hit(budgets, cost, clock=clock)
        assert found.allowed == expected.allowed
        assert found.fits == expected.fits
        assert outcome_of(budgets, found, cost) == outcome_of(budgets, expected, cost)
        assert outcome_of(budgets, shared_store.peek(budgets, cost, clock=clock), cost) == outcome_of(
            budgets, reference.peek(budgets, cost, clock=clock), cost
        )


# --- Concurrency ---


def test_store_has_its_own_clock(store):
    before = time.time_ns() // 1000
    now = store.hit([make_budget()]).now
    assert before - SECOND <= now <= time.time_ns() // 1000 + SECOND


def test_threads_share_a_budget(store):
    budget = make_budget(limit=60, period=3600)
    with ThreadPoolExecutor(6) as threads:
        work = [threads.submit(lambda: [store.hit([budget]).allowed for _ in range(40)]) for _ in range(6)]
        assert sum(sum(done.result()) for done in work) == 60


@EACH_WINDOW
def test_eight_processes_do_not_exceed_one_budget(shared_store, eight_processes, window):
    for run in range(5):
        budget = make_budget(key=f"run:{run}", limit=100, period=36000, window=window)
        start_at = time.time() + 0.1
        work = [
            eight_processes.submit(hit_repeatedly, address_of(shared_store), [budget], 40, start_at) for _ in range(8)
        ]
        assert sum(done.result() for done in work) == 100


def test_eight_processes_with_budgets_in_any_order_do_not_deadlock(shared_store, eight_processes):
    wide, narrow = make_budget(key="a", limit=1000, period=36000), make_budget(key="b", limit=100, period=36000)
    quota = make_budget(key="c", limit=1000, window="month")
    orders = [[wide, narrow, quota], [quota, narrow, wide]]
    start_at = time.time() + 0.1
    work = [
        eight_processes.submit(hit_repeatedly, address_of(shared_store), orders[number % 2], 40, start_at)
        for number in range(8)
    ]
    assert sum(done.result() for done in work) == 100
    states = Limiter(shared_store).peek([wide, quota]).states
    assert [state.remaining for state in states] == [900, 900]


def test_processes_that_create_the_sqlite_file_concurrently_count_exactly(tmp_path, eight_processes):
    for run in range(5):
        address = "sqlite", str(tmp_path / f"run{run}.sqlite3")
        start_at = time.time() + 0.1
        work = [
            eight_processes.submit(open_and_hit_repeatedly, address, make_budget(limit=50), 30, start_at)
            for _ in range(8)
        ]
        assert sum(done.result() for done in work) == 50
