"""If a store's clock steps back or forward and returns, every store keeps what was used in the window it returns to, or
starts that window again. No one is locked out.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import pytest

from ratelimits.budgets import Budget, microseconds

LIMIT = 3
SECOND = dt.timedelta(seconds=1)
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
SATURDAY = dt.datetime(2026, 3, 14, 12, 0, 30, tzinfo=dt.UTC)


class Case(NamedTuple):
    """within: a step back from SATURDAY that stays in the window, less the second by which clocks may differ. before: one that
    doesn't. ends: how long after SATURDAY the window ends.
    """

    window: str
    period: int
    within: dt.timedelta
    before: dt.timedelta
    ends: dt.timedelta


CASES = [
    Case("rolling", 60, SECOND / 2, 2 * SECOND, 60 * SECOND),
    Case("rolling", 86_400, SECOND / 2, 2 * SECOND, DAY),
    Case("fixed", 60, 31 * SECOND, 32 * SECOND, 30 * SECOND),
    Case("fixed", 86_400, 12 * HOUR, 13 * HOUR, 12 * HOUR),
    Case("week", 60, 5 * DAY, 6 * DAY, 2 * DAY),
    Case("month", 60, 13 * DAY, 14 * DAY, 18 * DAY),
]
EACH = pytest.mark.parametrize("case", CASES, ids=[f"{case.window} {case.period}" for case in CASES])


def budget_of(window, period=60):
    return Budget(key="user:1/rule:1", limit=LIMIT, period=period, window=window)


def count_allowed(store, budget, moment):
    return sum(store.hit([budget], clock=microseconds(moment)).allowed for _ in range(LIMIT + 1))


@EACH
def test_budget_stays_used_after_a_step_within_its_window(store, case):
    budget = budget_of(case.window, case.period)
    assert count_allowed(store, budget, SATURDAY) == LIMIT
    assert count_allowed(store, budget, SATURDAY - case.within) == 0
    assert count_allowed(store, budget, SATURDAY) == 0
    assert count_allowed(store, budget, SATURDAY + case.ends) == LIMIT


@EACH
def test_budget_restarts_after_a_step_before_its_window(store, case):
    budget = budget_of(case.window, case.period)
    assert count_allowed(store, budget, SATURDAY) == LIMIT
    assert count_allowed(store, budget, SATURDAY - case.before) == LIMIT
    assert count_allowed(store, budget, SATURDAY - case.before) == 0
    # The clock returns. One counter can't remember both windows.
    assert count_allowed(store, budget, SATURDAY) == (0 if case.window == "rolling" else LIMIT)
    assert count_allowed(store, budget, SATURDAY) == 0
    assert count_allowed(store, budget, SATURDAY + case.ends) == LIMIT


@EACH
@pytest.mark.parametrize("ahead", [2 * HOUR, 62 * DAY])
def test_clock_that_was_ahead_does_not_lock_anyone_out(store, case, ahead):
    budget = budget_of(case.window, case.period)
    assert count_allowed(store, budget, SATURDAY) == LIMIT
    same_window = ahead < case.ends
    assert count_allowed(store, budget, SATURDAY + ahead) == (0 if same_window else LIMIT)
    assert count_allowed(store, budget, SATURDAY) == (0 if same_window else LIMIT)
    assert count_allowed(store, budget, SATURDAY) == 0
    assert count_allowed(store, budget, SATURDAY + 2 * case.ends) == LIMIT


@pytest.mark.parametrize("moves", [[-400 * DAY, 400 * DAY], [400 * DAY, -400 * DAY]])
def test_total_stays_used_after_any_step(store, moves):
    budget, moment = budget_of("total"), SATURDAY
    assert count_allowed(store, budget, moment) == LIMIT
    for move in moves:
        moment += move
        assert count_allowed(store, budget, moment) == 0
