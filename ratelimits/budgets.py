"""Budgets and the arithmetic of the three windows: the reference that every store follows. Times are microseconds.

Rolling is the generic cell rate algorithm (ITU-T I.371, virtual scheduling): a counter is the time `at` at which the
budget would be whole again; a request moves it on by its share of the period. Fixed and month count in `used` until `at`,
the end of the window. `span` is what `at` was measured in, so that a change of the limit keeps the share that is used.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from config.base.text import period_in_words

SECOND = 1_000_000
# How far a clock may step back before counters that lie too far ahead are taken for leftovers of another time.
CLOCK_SLACK = SECOND
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Budget(NamedTuple):
    """What one owner may do under one rule: `limit` per `period` seconds.

    key: names the counter; never contains the limit. window: rolling, fixed or month (period is not used by month).
    name: what callers see in the RateLimit header. observe: count and report, never refuse.
    """

    key: str
    limit: int
    period: int
    window: str = "rolling"
    name: str = ""
    observe: bool = False
    rule_id: int | None = None

    @property
    def is_rolling(self) -> bool:
        return self.window == "rolling"

    @property
    def is_lasting(self) -> bool:
        """Whether the counter must survive a crash of its store: a quota of a day or more."""
        return self.window == "month" or (self.window == "fixed" and self.period >= 24 * 3600)

    @property
    def step(self) -> int:
        """What a request of cost 1 adds: microseconds of a rolling window, else 1."""
        return -(-self.period * SECOND // self.limit) if self.is_rolling else 1

    def share(self, cost: int) -> int:
        """What a request of this cost adds. More than the limit never fits, however much more: numbers stay small."""
        return min(cost, self.limit + 1) * self.step

    @property
    def counter_key(self) -> str:
        """The key in the store. Counters of different kinds do not read each other's."""
        if self.is_rolling:
            return self.key
        return f"{self.key}/quota" if self.is_lasting else f"{self.key}/fixed"

    def bounds(self, now: int) -> tuple[int, int]:
        """Start and end of the window that `now` lies in. A rolling one starts now and ends when all is refilled."""
        if self.is_rolling:
            return now, now + self.limit * self.step
        if self.window == "month":
            return month_bounds(now)
        start = now - now % (self.period * SECOND)
        return start, start + self.period * SECOND


def month_bounds(now: int) -> tuple[int, int]:
    """Start and end of the UTC calendar month that `now` lies in."""
    start = (EPOCH + dt.timedelta(microseconds=now)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (start + dt.timedelta(days=31)).replace(day=1)
    return microseconds(start), microseconds(end)


def microseconds(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def rule_key(owner: str, rule_id: int) -> str:
    """The key of the budget that an owner has under a rule."""
    return f"{owner}/rule:{rule_id}"


def counter_keys(keys: Iterable[str]) -> list[str]:
    """All keys in the store that budgets with these keys may have."""
    return [f"{key}{kind}" for key in keys for kind in ("", "/fixed", "/quota")]


class Counter(NamedTuple):
    """What a store keeps of a budget."""

    at: int
    span: int
    used: int = 0


class Reading(NamedTuple):
    """What a store answers: whether the request is allowed, its clock, and for each budget whether the cost fits (fitted),
    and the counter afterwards (None: nothing counted).
    """

    allowed: bool
    now: int
    fits: tuple[bool, ...]
    counters: tuple[Counter | None, ...]


def current(budget: Budget, counter: Counter | None, now: int) -> Counter:
    """The counter as it stands now under this budget's limit, period and window."""
    if budget.window == "rolling" and counter is not None:
        span = budget.limit * -(-budget.period * SECOND // budget.limit)
        if counter.span == span and now <= counter.at <= now + span:
            return counter
    start, end = budget.bounds(now)
    span = end - start
    if counter is None or counter.at - now > counter.span + CLOCK_SLACK:
        counter = Counter(now, span)
    if budget.is_rolling:
        return Counter(now + carried_over(counter.at - now, counter.span, span), span)
    if counter.at <= start or not counter.used:
        return Counter(end, span)
    return Counter(counter.at if counter.span == span else end, span, counter.used)


def carried_over(backlog: int, old_span: int, span: int) -> int:
    """What is left to wait of `backlog`, as the same share of another span; rounded up, as every store does it."""
    if backlog <= 0 or old_span == span:
        return max(0, backlog)
    return min(span, int(float(backlog) * span / old_span) + 1)


def charged(budget: Budget, counter: Counter | None, cost: int, now: int) -> Counter | None:
    """The counter after a request of this cost; None if it does not fit."""
    at, span, used = current(budget, counter, now)
    if budget.is_rolling:
        at += budget.share(cost)
        return Counter(at, span) if at - now <= span else None
    used += budget.share(cost)
    return Counter(at, span, used) if used <= budget.limit else None


def weigh(budgets: Sequence[Budget], counters: tuple[Counter | None, ...], cost: int, now: int) -> Reading:
    """The reading that these counters give, nothing charged."""
    fits = tuple(
        charged(budget, counter, cost, now) is not None for budget, counter in zip(budgets, counters, strict=True)
    )
    allowed = all(fit or budget.observe for fit, budget in zip(fits, budgets, strict=True))
    return Reading(allowed, now, fits, counters)


class BudgetState(NamedTuple):
    """How a budget stands. Times are whole seconds from now, rounded up; `resets_at` is the same as Unix time.

    remaining: requests of cost 1 that would be allowed now. reset_after: until all of it is there again, if nothing more
    is asked. exceeded: this budget had no room for the request; retry_after then says when it has, and is 0 otherwise.
    """

    budget: Budget
    remaining: int
    reset_after: int
    retry_after: int
    exceeded: bool
    resets_at: int = 0


def state(budget: Budget, counter: Counter | None, now: int, cost: int, *, fits: bool) -> BudgetState:
    at, span, used = current(budget, counter, now)
    if budget.is_rolling:
        remaining = max(0, (span - (at - now)) // budget.step)
    else:
        remaining = max(0, budget.limit - used)
        at = at if used else now
    if fits:
        retry_after = 0
    elif budget.is_rolling:
        retry_after = max(1, whole_seconds(at + budget.share(cost) - span - now))
    else:
        retry_after = max(1, whole_seconds(at - now))
    return BudgetState(budget, remaining, whole_seconds(at - now), retry_after, not fits, whole_seconds(at))


def whole_seconds(microseconds: int) -> int:
    return -(-microseconds // SECOND)


class Outcome(NamedTuple):
    """The verdict on a request. degraded: the store was away, so nothing was counted and `states` is empty."""

    allowed: bool
    states: tuple[BudgetState, ...] = ()
    degraded: bool = False

    @property
    def retry_after(self) -> int:
        """Seconds until a refused request would be allowed, at least 1; 0 when it was allowed."""
        if self.allowed:
            return 0
        return max(
            (state.retry_after for state in self.states if state.exceeded and not state.budget.observe), default=1
        )


def rate_in_words(limit: int, period: int, window: str = "rolling") -> str:
    """“100 per minute”; for quotas “10,000 per day, by the UTC clock” and “1,000 per calendar month”."""
    if window == "month":
        return f"{limit:,} per calendar month"
    words = f"{limit:,} per {period_in_words(period)}"
    return f"{words}, by the UTC clock" if window == "fixed" else words
