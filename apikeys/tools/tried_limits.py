"""The rate limits of the past as they would have been with one more, or with other figures for one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Q

from apikeys.decision.checks import ACTION_OF_METHOD, Facts, Inquiry, permitted
from apikeys.decision.credentials import MISSING
from ratelimits.budgets import Budget, microseconds
from ratelimits.models import RateLimit
from ratelimits.rules import COLUMNS, NO_RULES, Rules, budgets_under, by_period, compiled, owner_of_user, rows_of
from tiers.models import Tier, TierAccess

ID = COLUMNS.index("id")
# Of a limit that isn't saved yet.
NEW = 0
FOREVER = 2**63


class Asked(NamedTuple):
    """What decides which limits a request counts for. tier_until: in microseconds."""

    user_id: int
    billing_day: int
    tier_id: int | None
    tier_until: int | None
    method: str
    endpoint: str
    host: str

    @property
    def path(self) -> str:
        # Counted requests have canonical paths; a named resource counts as the path of that name.
        return f"/{self.endpoint.strip('/')}"


def inquiries(asked: Asked) -> Iterator[Inquiry]:
    """What the tier's access was asked for. The ledger doesn't have the action on a named resource: any counts."""
    if asked.endpoint.startswith("/"):
        yield Inquiry(Facts(MISSING, asked.method, asked.endpoint, host=asked.host), None, path=asked.endpoint)
        return
    for action in dict.fromkeys(ACTION_OF_METHOD.values()):
        facts = Facts(MISSING, asked.method, None, resource=asked.endpoint, action=action, host=asked.host)
        yield Inquiry(facts, None, resource=asked.endpoint)


class Own(NamedTuple):
    """A user's own limit, as a row of COLUMNS, and when it was in force."""

    since: int
    ends: int
    row: tuple[Any, ...]


def row_of(limit: RateLimit) -> tuple[Any, ...]:
    row = {column: getattr(limit, column) for column in COLUMNS}
    return tuple((row | {"id": limit.pk or NEW}).values())


def as_enforced(limit: RateLimit) -> RateLimit:
    enforced = copy(limit)
    enforced.mode = RateLimit.Mode.ENFORCE
    return enforced


def window_of(row: tuple[Any, ...]) -> str:
    return str(row[COLUMNS.index("window")])


def memory_of(row: tuple[Any, ...]) -> int:
    """How many seconds back requests can matter. A total is another matter."""
    return 0 if window_of(row) == "total" else int(row[COLUMNS.index("period")])


class TriedLimits:
    """start: from when on requests are looked at. A total begins to count then, or when it was created."""

    def __init__(self, tried: RateLimit, users: Q, start: dt.datetime) -> None:
        self.tried, self.start = as_enforced(tried), start
        self.rule_id = tried.pk or NEW
        self.live_tiers = set(Tier.objects.live().values_list("pk", flat=True))
        default = Tier.objects.default()
        self.default_tier = default.pk if default else None
        self.own = self._own_limits(users)
        self._of_tiers: dict[int, Rules] = {}
        self._of_users: dict[tuple[Own, ...], Rules] = {}
        self._access: dict[int, list[str]] = {}
        self._answers: dict[tuple[Any, ...], bool] = {}

    def budgets(self, asked: Asked, at: int) -> list[Budget]:
        tier_id = self.tier_at(asked, at)
        tier = NO_RULES if tier_id is None else self._rules_of_tier(tier_id)
        own, owner = self._rules_of_user(asked.user_id, at), owner_of_user(asked.user_id)
        return budgets_under(owner, tier, own, (asked.method, asked.path, asked.host), asked.billing_day)

    def tier_at(self, asked: Asked, at: int) -> int | None:
        has_ended = asked.tier_until is not None and asked.tier_until <= at
        tier_id = self.default_tier if has_ended else asked.tier_id
        return tier_id if tier_id in self.live_tiers else None

    def has_access(self, asked: Asked, at: int) -> bool:
        """Whether the tier's access, as it is now, lets the request through to the limits."""
        tier_id = self.tier_at(asked, at)
        if tier_id is None:
            return True
        question = (tier_id, asked.method, asked.endpoint, asked.host)
        if question not in self._answers:
            self._answers[question] = any(permitted(self._access_of(tier_id), inquiry) for inquiry in inquiries(asked))
        return self._answers[question]

    def memory(self) -> int:
        """How many seconds before `start` a request can still matter to one of these limits."""
        rows = [*self._rows_of_tiers(), *(own.row for owns in self.own.values() for own in owns)]
        return max([settings.DEFAULT_RATE_LIMIT_PERIOD, *(memory_of(row) for row in rows)])

    def first_total(self) -> dt.datetime:
        """Since when a total counts."""
        totals = [own.since for owns in self.own.values() for own in owns if window_of(own.row) == "total"]
        return dt.datetime.fromtimestamp(min(totals) / 10**6, dt.UTC) if totals else self.start

    def _rows_of_tiers(self) -> Iterator[Any]:
        for tier_id in {self.tried.tier_id, self.default_tier} - {None}:
            yield from self._rows_of_tier(tier_id)

    def _rows_of_tier(self, tier_id: Any) -> list[Any]:
        rows = [row for row in rows_of(tier_id=tier_id) if row[ID] != self.tried.pk]
        return [*rows, row_of(self.tried)] if tier_id == self.tried.tier_id else rows

    def _rules_of_tier(self, tier_id: int) -> Rules:
        if tier_id not in self._of_tiers:
            self._of_tiers[tier_id] = compiled(sorted(self._rows_of_tier(tier_id), key=by_period))
        return self._of_tiers[tier_id]

    def _rules_of_user(self, user_id: int, at: int) -> Rules:
        owns = self.own.get(user_id)
        if owns is None:
            return NO_RULES
        in_force = tuple(own for own in owns if own.since <= at < own.ends)
        if in_force not in self._of_users:
            self._of_users[in_force] = compiled(sorted((own.row for own in in_force), key=by_period), own=True)
        return self._of_users[in_force] if in_force else NO_RULES

    def _own_limits(self, users: Q) -> dict[int, list[Own]]:
        owns: dict[int, list[Own]] = {}
        saved = RateLimit.objects.live().filter(users, user__isnull=False).exclude(pk=self.tried.pk)
        for limit in [*saved, *([self.tried] if self.tried.user_id is not None else [])]:
            ends = FOREVER if limit.ends_at is None else microseconds(limit.ends_at)
            owns.setdefault(limit.user_id or 0, []).append(Own(self._since(limit), ends, row_of(limit)))
        return owns

    def _since(self, limit: RateLimit) -> int:
        if limit.window != RateLimit.Window.TOTAL:
            return -FOREVER
        return microseconds(min(limit.created_at, self.start) if limit.pk else self.start)

    def _access_of(self, tier_id: int) -> list[str]:
        if tier_id not in self._access:
            self._access[tier_id] = [str(rule.permission) for rule in TierAccess.objects.filter(tier=tier_id)]
        return self._access[tier_id]
