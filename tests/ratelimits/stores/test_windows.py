"""Every store agrees with a simple model of each window: days, weeks, months with a billing day, totals, rolling windows."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimits.budgets import Budget, microseconds
from ratelimits.limiter import outcome_of

ONE_DAY = dt.timedelta(days=1)
TICK = dt.timedelta(microseconds=1)


def budget_of(window, **changes):
    return Budget(**{"key": "user:1/rule:1", "limit": 2, "period": 60, "window": window} | changes)


def utc(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def count_allowed(store, budget, moment, times=3):
    return sum(store.hit([budget], clock=microseconds(moment)).allowed for _ in range(times))


@pytest.mark.parametrize(
    ("day", "first"),
    [
        (31, "2026-02-28"),
        (31, "2028-02-29"),
        (31, "2026-03-31"),
        (31, "2026-04-30"),
        (31, "2026-12-31"),
        (30, "2026-02-28"),
        (29, "2026-02-28"),
        (29, "2028-02-29"),
        (15, "2027-01-15"),
        (1, "2026-03-01"),
    ],
)
def test_month_begins_on_the_billing_day_or_the_last_day_of_a_shorter_month(store, day, first):
    budget, first = budget_of("month", billing_day=day), utc(first)
    assert count_allowed(store, budget, first - TICK) == 2
    assert count_allowed(store, budget, first) == 2
    assert count_allowed(store, budget, first + 27 * ONE_DAY) == 0
    assert count_allowed(store, budget, first + 31 * ONE_DAY) == 2


def test_week_begins_on_monday(store):
    budget, monday = budget_of("week"), utc("2026-03-16")
    assert monday.strftime("%A") == "Monday"
    assert count_allowed(store, budget, monday - TICK) == 2
    assert count_allowed(store, budget, monday) == 2
    assert count_allowed(store, budget, monday + 7 * ONE_DAY - TICK) == 0
    assert count_allowed(store, budget, monday + 7 * ONE_DAY) == 2


def test_total_never_resets(store):
    budget = budget_of("total")
    assert count_allowed(store, budget, utc("2026-03-16")) == 2
    assert count_allowed(store, budget, utc("2126-03-16")) == 0
    assert count_allowed(store, budget._replace(limit=5), utc("2126-03-16"), 9) == 3


def test_users_with_different_billing_days_are_counted_separately(store):
    first, last = (budget_of("month", key=f"user:{day}", billing_day=day) for day in (1, 31))
    for moment, expected in (("2026-04-29", (2, 2)), ("2026-04-30", (0, 2)), ("2026-05-01", (2, 0))):
        found = [0, 0]
        for _ in range(3):
            for number, budget in enumerate((first, last)):
                found[number] += store.hit([budget], clock=microseconds(utc(moment))).allowed
        assert tuple(found) == expected


@pytest.mark.parametrize(("old", "new", "end", "next_end"), [
    (1, 15, "2026-04-01", "2026-04-15"),
    (15, 1, "2026-03-15", "2026-04-01"),
    (31, 10, "2026-03-31", "2026-04-10"),
])  # fmt: skip
def test_current_month_keeps_its_end_after_a_billing_day_change(store, old, new, end, next_end):
    moment = utc("2026-03-12T12:00")
    assert count_allowed(store, budget_of("month", billing_day=old), moment) == 2
    changed = budget_of("month", billing_day=new)
    for resets_at in (utc(end), utc(next_end)):
        reading = store.hit([changed], clock=microseconds(moment))
        assert outcome_of([changed], reading).states[0].resets_at == resets_at.timestamp()
        assert count_allowed(store, changed, resets_at - TICK) == 0
        assert count_allowed(store, changed, resets_at) == 2
        moment = resets_at


# --- A simple model ---


def window_begin(window, moment, billing_day):
    """The day on which the window began, found by going back day by day."""
    day = moment.date()
    if window == "total":
        return None
    if window == "fixed":  # of a day
        return day
    while not (day.weekday() == 0 if window == "week" else is_billing_day(day, billing_day)):
        day -= ONE_DAY
    return day


def is_billing_day(day, billing_day):
    is_last = (day + ONE_DAY).month != day.month
    return day.day == billing_day or (is_last and day.day < billing_day)


START = dt.datetime(2024, 1, 1)  # noqa: DTZ001  (Hypothesis needs naive datetimes)
moves = st.one_of(
    st.timedeltas(dt.timedelta(0), dt.timedelta(hours=3)),
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=40)),
    st.sampled_from([ONE_DAY, ONE_DAY - TICK, 7 * ONE_DAY, 365 * ONE_DAY]),
)


@pytest.mark.parametrize("window", ["fixed", "week", "month", "total"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.datetimes(START, START.replace(year=2029)).map(lambda moment: moment.replace(tzinfo=dt.UTC)),
    billing_day=st.integers(1, 31),
    limit=st.integers(1, 4),
    history=st.lists(st.tuples(moves, st.integers(1, 2)), min_size=1, max_size=30),
)
def test_stores_agree_with_a_simple_model(store, window, start, billing_day, limit, history):
    store.clear()
    budget, used, moment = (
        budget_of(window, limit=limit, period=86_400, billing_day=billing_day),
        Counter(),
        start,
    )
    for move, cost in history:
        moment += move
        begin = window_begin(window, moment, billing_day)
        fits = used[begin] + cost <= limit
        reading = store.hit([budget], cost, clock=microseconds(moment))
        assert reading.allowed is fits
        used[begin] += cost if fits else 0
        assert outcome_of([budget], reading, cost).states[0].remaining == limit - used[begin]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 6),
    history=st.lists(
        st.tuples(st.timedeltas(dt.timedelta(0), dt.timedelta(seconds=40)), st.integers(1, 2)), min_size=1, max_size=30
    ),
)
def test_rolling_budget_agrees_with_a_leaky_bucket(store, limit, history):
    """Each request fills the bucket by its cost, and it drains by `limit` in a minute."""
    store.clear()
    budget, level, moment = budget_of("rolling", limit=limit, period=60), Fraction(), utc("2026-03-16")
    for move, cost in history:
        moment += move
        level = max(Fraction(), level - Fraction(move // TICK * limit, 60_000_000))
        fits = level + cost <= limit
        reading = store.hit([budget], cost, clock=microseconds(moment))
        assert reading.allowed is fits
        level += cost if fits else 0
        assert outcome_of([budget], reading, cost).states[0].remaining == limit - ceil(level)
