"""What if: how many requests of the last days a limit would have refused, had it been in force.

The ledger of decisions is replayed through the limiter's own arithmetic, account by account. Decisions that were refused
for another reason than a limit play no part; those that a limit refused do, as they would have been asked all the same.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from ratelimits.budgets import Budget, Counter, charged, microseconds
from ratelimits.matching import PatternTrie, counted_method
from ratelimits.models import RateLimit

DAYS = 7
MOST_EVENTS = 200_000


class Event(NamedTuple):
    user_id: int
    at: int
    method: str
    path: str


@dataclass
class Replay:
    """requests: those that the limit would have counted. refused: by account id. cut_off: not all could be looked at."""

    requests: int = 0
    users: set[int] = field(default_factory=set)
    refused: Tally[int] = field(default_factory=Tally)
    cut_off: bool = False
    since: dt.datetime | None = None

    @property
    def refused_requests(self) -> int:
        return self.refused.total()

    @property
    def refused_users(self) -> int:
        return len(self.refused)


def what_if(limit: RateLimit) -> Replay:
    """Replay the last days of the limit's tier against it. The limit need not be saved."""
    replay = Replay()
    trie = with_neighbours(limit)
    counters: dict[int, Counter | None] = {}
    for number, event in enumerate(events(limit.tier_id)):
        if number == MOST_EVENTS:
            replay.cut_off = True
            break
        match = trie.match(event.path, counted_method(event.method))
        if match is not None and limit in match.values:
            count(replay, limit, event, counters)
    return replay


def count(replay: Replay, limit: RateLimit, event: Event, counters: dict[int, Counter | None]) -> None:
    replay.requests += 1
    replay.users.add(event.user_id)
    budget = Budget("", limit.limit, limit.period, limit.window)
    after = charged(budget, counters.get(event.user_id), 1, event.at)
    if after is None:
        replay.refused[event.user_id] += 1
    else:
        counters[event.user_id] = after


def with_neighbours(limit: RateLimit) -> PatternTrie[RateLimit]:
    """The limit and the others of its tier, which take the requests that are more specific."""
    trie: PatternTrie[RateLimit] = PatternTrie()
    for other in [*limit.siblings(), limit]:
        trie.add(other.path, other, other.method)
    return trie


def events(tier_id: int) -> Iterator[Event]:
    """The ledger of the tier's present accounts, oldest first."""
    # The ledger stands above this app: it is reached through the account's reverse relation, not imported.
    ledger: Any = get_user_model()._meta.get_field("usage").related_model
    counted = Q(reason="") | Q(reason="rate_limited")
    since = timezone.now() - dt.timedelta(days=DAYS)
    rows = ledger.objects.filter(counted, user__tier_id=tier_id, created_at__gte=since).order_by("created_at")
    fields = rows.values_list("user_id", "created_at", "method", "endpoint")
    for user_id, created_at, method, endpoint in fields[: MOST_EVENTS + 1].iterator(chunk_size=5000):
        # A counted request's path is in its one form already; a named resource counts as the path of that name.
        path = endpoint if endpoint.startswith("/") else f"/{endpoint.strip('/')}"
        yield Event(user_id, microseconds(created_at), method, path)
