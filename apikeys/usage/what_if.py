"""What if: how many requests of the last days a rate limit would have denied, had it been in force.

Usage is replayed through the limiter's own arithmetic, user by user. Requests denied for another reason than a rate limit
don't count; those that were rate limited do, because they would have been made all the same.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.models import Q
from django.utils import timezone

from apikeys.models import KeyUsage
from ratelimits.budgets import Budget, Counter, charged, microseconds
from ratelimits.matching import PatternTrie, counted_method
from ratelimits.models import RateLimit

DAYS = 7
MAX_EVENTS = 200_000


class Event(NamedTuple):
    user_id: int
    billing_day: int
    at: int
    method: str
    path: str
    host: str


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
    result = Replay()
    applies = applicability(limit)
    counters: dict[int, Counter | None] = {}
    for number, event in enumerate(events(limit)):
        if number == MAX_EVENTS:
            result.cut_off = True
            break
        if applies(event):
            count(result, limit, event, counters)
    return result


def count(result: Replay, limit: RateLimit, event: Event, counters: dict[int, Counter | None]) -> None:
    result.requests += 1
    result.users.add(event.user_id)
    budget = Budget("", limit.limit, limit.period, limit.window, billing_day=event.billing_day)
    after = charged(budget, counters.get(event.user_id), 1, event.at)
    if after is None:
        result.denied[event.user_id] += 1
    else:
        counters[event.user_id] = after


def applicability(limit: RateLimit) -> Callable[[Event], bool]:
    """Whether a request counts for the limit: an overall one counts all that match, another one those it wins.

    For an own limit, the limits of the user's tier take part.
    """
    own = trie_of([limit] if limit.overall else [*limit.siblings().filter(overall=False), limit])
    tier = limit.user.effective_tier if limit.user is not None and not limit.overall else None
    of_tier = trie_of(tier.rate_limits.live().filter(overall=False) if tier else [])

    def applies(event: Event) -> bool:
        request = (event.path, counted_method(event.method), event.host)
        match, other = own.match(*request), of_tier.match(*request)
        return match is not None and limit in match.values and (other is None or match.rank <= other.rank)

    return applies


def trie_of(limits: Iterable[RateLimit]) -> PatternTrie[RateLimit]:
    trie: PatternTrie[RateLimit] = PatternTrie()
    for limit in limits:
        trie.add(limit.path, limit, limit.method, limit.host)
    return trie


def events(limit: RateLimit) -> Iterator[Event]:
    counted = Q(reason="") | Q(reason="rate_limited")
    since = timezone.now() - dt.timedelta(days=DAYS)
    owner = Q(user_id=limit.user_id) if limit.user_id is not None else Q(user__tier_id=limit.tier_id)
    rows = KeyUsage.objects.filter(counted, owner, created_at__gte=since).order_by("created_at")
    fields = rows.values_list("user_id", "user__billing_day", "created_at", "method", "endpoint", "host")
    for user_id, day, created_at, method, endpoint, host in fields[: MAX_EVENTS + 1].iterator(chunk_size=5000):
        # Counted requests have canonical paths; a named resource counts as the path of that name.
        path = endpoint if endpoint.startswith("/") else f"/{endpoint.strip('/')}"
        yield Event(user_id, day, microseconds(created_at), method, path, host)
