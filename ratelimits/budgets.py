"""Budgets and the arithmetic of their windows, which every store follows. Times are microseconds.

A rolling window is the generic cell rate algorithm (ITU-T I.371, virtual scheduling): the counter is the time `at` when
the budget resets, and a request moves it forward by its share of the period. Other windows count in `used` until `at`,
the end of the window. `span` is the length of the window `at` was set for, so that a changed limit keeps the used share.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterable, MutableMapping, Sequence
from typing import NamedTuple

from config.base.text import MINUTE, ago, counted, period_in_words

SECOND = 1_000_000
# How far a clock may jump back before counters that are too far ahead are treated as stale.
CLOCK_SLACK = SECOND
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# The unit that is counted when a request is decided; others are reported later.
REQUESTS = "requests"
MICROCENTS = "microcents"
DAY = 24 * 3600
WEEK = 7 * DAY
# The first Monday of the epoch, which began on a Thursday.
FIRST_MONDAY = 4 * DAY * SECOND
# A total is one window, from 1970 to 2200: Redis has numbers up to 2^53 only.
TOTAL = 7_258_118_400
# When to ask again for what doesn't reset.
RETRY_TOTAL = DAY


class Budget(NamedTuple):
    """What one owner may do under one rule: `limit` per `period` seconds.

    key: names the counter, and doesn't contain the limit. window: rolling, fixed, week (from Monday), month (from the billing
    day) or total; the last three ignore the period. name: for the RateLimit header. observe: count and report, but never
    deny.
    """

    key: str
    limit: int
    period: int
    window: str = "rolling"
    name: str = ""
    observe: bool = False
    rule_id: int | None = None
    unit: str = REQUESTS
    billing_day: int = 1

    @property
    def is_rolling(self) -> bool:
        return self.window == "rolling"

    @property
    def resets(self) -> bool:
        return self.window != "total"

    @property
    def is_lasting(self) -> bool:
        """Whether the counter must survive a crash of its store: weeks, months, totals, fixed windows of a day or more, and all
        units but requests.
        """
        return self.window in LASTING or self.unit != REQUESTS or (self.window == "fixed" and self.period >= DAY)

    @property
    def step(self) -> int:
        """What a request of cost 1 adds: microseconds to a rolling window, 1 to others."""
        return -(-self.period * SECOND // self.limit) if self.is_rolling else 1

    @property
    def in_words(self) -> str:
        return rate_in_words(self.limit, self.period, self.window, self.unit)

    def share(self, cost: int) -> int:
        # A cost above the limit never fits, so anything beyond limit + 1 would only make the number larger.
        return min(cost, self.limit + 1) * self.step

    @property
    def counter_key(self) -> str:
        if self.is_rolling:
            return self.key
        return f"{self.key}/quota" if self.is_lasting else f"{self.key}/fixed"

    def bounds(self, now: int) -> tuple[int, int]:
        """Start and end of the window that contains `now`. A rolling one starts now."""
        if self.is_rolling:
            return now, now + self.limit * self.step
        if self.window == "month":
            return month_bounds(now, self.billing_day)
        span = WINDOW_SECONDS.get(self.window, self.period) * SECOND
        start = now - (now - self.phase) % span
        return start, start + span

    @property
    def phase(self) -> int:
        """When one of the windows begins."""
        return FIRST_MONDAY if self.window == "week" else 0


LASTING = frozenset({"week", "month", "total"})
WINDOW_SECONDS = {"week": WEEK, "total": TOTAL}


def month_bounds(now: int, day: int = 1) -> tuple[int, int]:
    """Start and end of the month that begins on this day, or on the last day of a month that doesn't have it."""
    moment = EPOCH + dt.timedelta(microseconds=now)
    month = 12 * moment.year + moment.month - 1
    if moment < month_begin(month, day):
        month -= 1
    return microseconds(month_begin(month, day)), microseconds(month_begin(month + 1, day))


def month_begin(month: int, day: int) -> dt.datetime:
    """month: counted from January of the year 0."""
    year, index = divmod(month, 12)
    return dt.datetime(year, index + 1, min(day, calendar.monthrange(year, index + 1)[1]), tzinfo=dt.UTC)


def microseconds(time: dt.datetime) -> int:
    return (time - EPOCH) // dt.timedelta(microseconds=1)


def rule_key(owner: str, rule_id: int) -> str:
    return f"{owner}/rule:{rule_id}"


def counter_keys(keys: Iterable[str]) -> list[str]:
    return [f"{key}{kind}" for key in keys for kind in ("", "/fixed", "/quota")]


class Counter(NamedTuple):
    at: int
    span: int
    used: int = 0


class Reading(NamedTuple):
    """What a store returns: its clock, whether the cost fits each budget, and the counters afterwards (None: empty)."""

    allowed: bool
    now: int
    fits: tuple[bool, ...]
    counters: tuple[Counter | None, ...]


def current(budget: Budget, counter: Counter | None, now: int) -> Counter:
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
    if budget.window == "month":
        # After a change of the billing day, the month that is running ends as before.
        return counter if counter.at > now and counter.used else Counter(end, span)
    if counter.at <= start or not counter.used:
        return Counter(end, span)
    return Counter(counter.at if counter.span == span else end, span, counter.used)


def carried_over(backlog: int, old_span: int, span: int) -> int:
    """The backlog as the same share of another span; rounded up, as in every store."""
    if backlog <= 0 or old_span == span:
        return max(0, backlog)
    return min(span, int(float(backlog) * span / old_span) + 1)


def charged(budget: Budget, counter: Counter | None, cost: int, now: int) -> Counter | None:
    """The counter after a request of this cost; None if it doesn't fit."""
    at, span, used = current(budget, counter, now)
    if budget.is_rolling:
        at += budget.share(cost)
        return Counter(at, span) if at - now <= span else None
    used += budget.share(cost)
    return Counter(at, span, used) if used <= budget.limit else None


def reading_of(budgets: Sequence[Budget], counters: tuple[Counter | None, ...], cost: int, now: int) -> Reading:
    fits = tuple(
        charged(budget, counter, cost, now) is not None for budget, counter in zip(budgets, counters, strict=True)
    )
    allowed = all(fit or budget.observe for fit, budget in zip(fits, budgets, strict=True))
    return Reading(allowed, now, fits, counters)


class Charge(NamedTuple):
    """A request as a store charges it: `cost` to all of `budgets` or to none."""

    budgets: Sequence[Budget]
    cost: int = 1


def charge_in_turn(charges: Iterable[Charge], counters: MutableMapping[str, Counter], now: int) -> list[Reading]:
    """Charge one request after the other to `counters`, by counter_key."""
    readings = []
    for budgets, cost in charges:
        after = [charged(budget, counters.get(budget.counter_key), cost, now) for budget in budgets]
        fits = tuple(counter is not None for counter in after)
        allowed = all(fit or budget.observe for fit, budget in zip(fits, budgets, strict=True))
        for budget, counter in zip(budgets, after, strict=True):
            if allowed and cost and counter is not None:
                counters[budget.counter_key] = counter
        standing = tuple(counters.get(budget.counter_key) for budget in budgets)
        readings.append(Reading(allowed, now, fits, standing))
    return readings


class BudgetState(NamedTuple):
    """How a budget stands. Times are whole seconds from now, rounded up; `resets_at` is a Unix time. A total has neither.

    remaining: requests of cost 1 that would be allowed now. reset_after: until the whole limit is available again.
    exceeded: the request didn't fit. retry_after: until it would fit; 0 if it did.
    """

    budget: Budget
    remaining: int
    reset_after: int
    retry_after: int
    exceeded: bool
    resets_at: int = 0

    @property
    def left(self) -> str:
        """“88”, “12,400” tokens or “$1.20”."""
        return dollars(self.remaining) if self.budget.unit == MICROCENTS else f"{self.remaining:,}"

    @property
    def in_words(self) -> str:
        """“88 of 100” requests, “12,400 of 100,000 tokens” or “$1.20 of $20.00”."""
        return f"{self.left} of {amount_in_words(self.budget.limit, self.budget.unit)}"

    @property
    def resets_at_time(self) -> dt.datetime | None:
        """None if there is nothing to wait for: the whole limit is available, or it never resets."""
        return dt.datetime.fromtimestamp(self.resets_at, dt.UTC) if self.reset_after else None

    @property
    def reset_in_words(self) -> str:
        """“in 40 seconds”, “in 12 days”; “never”; “–” if the whole limit is available."""
        time = self.resets_at_time
        if time is None:
            return "–" if self.budget.resets else "never"
        if self.reset_after < MINUTE:
            return f"in {counted(self.reset_after, 'second')}"
        return ago(time, time - dt.timedelta(seconds=self.reset_after))


def state_of(budget: Budget, counter: Counter | None, now: int, cost: int, *, fits: bool) -> BudgetState:
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
    if not budget.resets:
        return BudgetState(budget, remaining, 0, 0 if fits else RETRY_TOTAL, not fits)
    return BudgetState(budget, remaining, whole_seconds(at - now), retry_after, not fits, whole_seconds(at))


def whole_seconds(microseconds: int) -> int:
    return -(-microseconds // SECOND)


class Outcome(NamedTuple):
    """degraded: the store was unavailable, so nothing was counted and `states` is empty."""

    allowed: bool
    states: tuple[BudgetState, ...] = ()
    degraded: bool = False

    @property
    def denying(self) -> list[BudgetState]:
        """The budgets that the request exceeded."""
        return [state for state in self.states if state.exceeded and not state.budget.observe]

    @property
    def retry_after(self) -> int:
        """Seconds until a denied request would be allowed, at least 1; 0 if it was allowed."""
        return 0 if self.allowed else max((state.retry_after for state in self.denying), default=1)


def rate_in_words(limit: int, period: int, window: str = "rolling", unit: str = REQUESTS) -> str:
    """“100 per minute”, “10,000 per day (UTC)”, “5,000 tokens per month” or “$20.00 in total”."""
    amount = amount_in_words(limit, unit)
    if window in LASTING:
        return f"{amount} {'in total' if window == 'total' else f'per {window}'}"
    words = f"{amount} per {period_in_words(period)}"
    return f"{words} (UTC)" if window == "fixed" else words


def amount_in_words(amount: int, unit: str) -> str:
    """“5,000” requests, “5,000 tokens” or “$20.00”."""
    if unit == MICROCENTS:
        return dollars(amount)
    return f"{amount:,}" if unit == REQUESTS else f"{amount:,} {unit}"


def dollars(microcents: int) -> str:
    """Exact, with two to eight decimals."""
    whole, rest = divmod(microcents, 10**8)
    decimals = f"{rest:08}".rstrip("0").ljust(2, "0")
    return f"${whole:,}.{decimals}"
