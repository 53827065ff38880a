"""What if: how many requests of the last days a rate limit would have denied, had it been in force.

Usage is replayed through the limiter's own arithmetic, together with all other limits that the requests count for, and with
the tiers, access and users of today. Requests denied before any limit was looked at don't count, unless it was by the tier
and it has access now; those that were rate limited do, because they would have been made all the same.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone

from apikeys.gateway.charges import FIELDS
from apikeys.models import APIKey, KeyUsage
from apikeys.tools.tried_limits import Asked, TriedLimits
from ratelimits.budgets import Budget, microseconds
from ratelimits.models import PERIODS, RateLimit
from ratelimits.rules import budget_of_key
from ratelimits.stores.simulation import Simulation, denies
from tiers.models import Tier

DAYS = 7
MAX_EVENTS = 200_000
REACHES_LIMITS = ("", "rate_limited", "tier_denied")


class Event(NamedTuple):
    """amounts: what was reported, by unit, at `reported_at`. Times are in microseconds."""

    asked: Asked
    at: int
    key: Budget | None
    reported_at: int
    amounts: dict[str, int]


@dataclass
class Replay:
    """requests: those that the limit would have counted. denied: how many, by user id. cut_off: there were more."""

    requests: int = 0
    users: set[int] = field(default_factory=set)
    denied: Tally[int] = field(default_factory=Tally)
    cut_off: bool = False

    @property
    def denied_requests(self) -> int:
        return self.denied.total()


def replay(limit: RateLimit) -> Replay:
    """Replay the last days of the limit's tier or user against it. The limit doesn't have to be saved."""
    start = timezone.now() - dt.timedelta(days=DAYS)
    users = users_of(limit)
    limits = TriedLimits(limit, users, start)
    rows = KeyUsage.objects.filter(users, reason__in=REACHES_LIMITS, created_at__gte=beginning(limits, users))
    newest, cut_off = newest_of(rows)
    run = Run(limits, Replay(cut_off=cut_off))
    for event in events(newest):
        run.take(event)
    return run.result


def users_of(limit: RateLimit) -> Q:
    """As a condition on what belongs to a user: whose requests the limit may count."""
    if limit.user_id is not None:
        return Q(user_id=limit.user_id)
    on_tier, default = Q(user__tier_id=limit.tier_id), Tier.objects.default()
    if default is not None and default.pk == limit.tier_id:
        return on_tier | Q(user__tier_until__lte=timezone.now())
    return on_tier


def beginning(limits: TriedLimits, users: Q) -> dt.datetime:
    """The first request that can still matter to a limit when the days begin that are looked at."""
    of_keys = APIKey.objects.filter(users, rate_limit__isnull=False).values_list("rate_window", "rate_period")
    seconds = [PERIODS.get(window, period or 0) for window, period in of_keys.distinct()]
    return min(limits.start - dt.timedelta(seconds=max([limits.memory(), *seconds])), limits.first_total())


def newest_of(rows: QuerySet[Any]) -> tuple[QuerySet[Any], bool]:
    """At most MAX_EVENTS of them, and whether there are more."""
    beyond = rows.order_by("-created_at").values_list("created_at", flat=True)[MAX_EVENTS : MAX_EVENTS + 1]
    for last in beyond:
        return rows.filter(created_at__gt=last), True
    return rows, False


class Run:
    """Takes one event after the other; reports come in between."""

    def __init__(self, limits: TriedLimits, result: Replay) -> None:
        self.limits, self.result = limits, result
        self.start = microseconds(limits.start)
        self.simulation = Simulation()
        self.reports: list[tuple[int, int, Event]] = []
        self.numbers = count()

    def take(self, event: Event) -> None:
        while self.reports and self.reports[0][0] <= event.at:
            self.charge(heappop(self.reports)[2])
        if not self.limits.has_access(event.asked, event.at):
            return
        budgets = self.limits.budgets(event.asked, event.at)
        exceeded = self.simulation.hit([*budgets, event.key] if event.key else budgets, event.at)
        if event.at >= self.start:
            self.note(event.asked.user_id, budgets, exceeded)
        if event.amounts and not denies(exceeded):
            heappush(self.reports, (event.reported_at, next(self.numbers), event))

    def charge(self, event: Event) -> None:
        for budget in self.limits.budgets(event.asked, event.reported_at):
            if amount := event.amounts.get(budget.unit):
                self.simulation.report(budget, amount, event.reported_at)

    def note(self, user_id: int, budgets: Sequence[Budget], exceeded: Sequence[Budget]) -> None:
        if self.counts(budgets):
            self.result.requests += 1
            self.result.users.add(user_id)
            self.result.denied.update([user_id] * self.counts(exceeded))

    def counts(self, budgets: Sequence[Budget]) -> bool:
        return any(budget.rule_id == self.limits.rule_id for budget in budgets)


COLUMNS = (
    "user_id", "user__billing_day", "user__tier_id", "user__tier_until", "method", "endpoint", "host", "created_at",
    "reported_at", "api_key_id", "api_key__rate_limit", "api_key__rate_period", "api_key__rate_window", *FIELDS.values(),
)  # fmt: skip


def events(rows: QuerySet[Any]) -> Iterator[Event]:
    for row in rows.order_by("created_at", "pk").values_list(*COLUMNS).iterator(chunk_size=5000):
        user_id, billing_day, tier_id, tier_until, method, endpoint, host, at, reported_at = row[:9]
        asked = Asked(user_id, billing_day, tier_id, tier_until and microseconds(tier_until), method, endpoint, host)
        key_id, limit, period, window, *reported = row[9:]
        key = budget_of_key(key_id, limit, period, window, billing_day) if limit and period else None
        amounts = {unit: amount for unit, amount in zip(FIELDS, reported, strict=True) if amount and reported_at}
        yield Event(asked, microseconds(at), key, microseconds(reported_at or at), amounts)
