"""Which rate limits apply to a request. A tier's rules are compiled and cached for a few seconds."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.conf import settings

from ratelimits.budgets import Budget, rate_in_words, rule_key
from ratelimits.matching import PatternTrie
from ratelimits.models import RateLimit

# Seconds. A change must take effect everywhere within 5.
CACHE_SECONDS = 3.0
DEFAULT_RULE_NAME = "default"


class Rule(NamedTuple):
    id: int
    name: str
    limit: int
    period: int
    window: str
    observe: bool

    @property
    def in_words(self) -> str:
        return rate_in_words(self.limit, self.period, self.window)

    def budget(self, owner: str) -> Budget:
        return Budget(rule_key(owner, self.id), self.limit, self.period, self.window, self.name, self.observe, self.id)


class Compiled(NamedTuple):
    checked_at: float
    rows: list[Any]
    trie: PatternTrie[Rule]


_compiled: dict[int, Compiled] = {}


def rules_for_tier(tier_id: int) -> PatternTrie[Rule]:
    """The tier's live limits, at most CACHE_SECONDS old; compiled again only if one changed."""
    known = _compiled.get(tier_id)
    now = time.monotonic()
    if known is not None and now - known.checked_at < CACHE_SECONDS:
        return known.trie
    # Compares the rows, not their newest `updated_at`: an earlier change, or one from a machine whose clock is behind, may
    # become visible after a newer one.
    rows = rows_of_tier(tier_id)
    trie = known.trie if known is not None and known.rows == rows else compiled(rows)
    _compiled[tier_id] = Compiled(now, rows, trie)
    return trie


def rows_of_tier(tier_id: int) -> list[Any]:
    limits = RateLimit.objects.effective().filter(tier_id=tier_id).order_by("period", "pk")
    return list(limits.values_list("path", "method", "pk", "name", "limit", "period", "window", "mode"))


def compiled(rows: Iterable[Any]) -> PatternTrie[Rule]:
    trie: PatternTrie[Rule] = PatternTrie()
    for path, method, pk, name, limit, period, window, mode in rows:
        trie.add(path, Rule(pk, name, limit, period, window, mode == RateLimit.Mode.OBSERVE), method)
    return trie


def forget_rules() -> None:
    """Make a change take effect at once in this process."""
    _compiled.clear()


def budgets_for(owner: str, tier_id: int | None, method: str, path: str) -> list[Budget]:
    """The budgets of the winning pattern, or else the shared default. A request is charged to all of them or to none.

    owner: from `owner_of_user`, or from `owner_of_address` without a key. path: canonical.
    """
    match = None if tier_id is None else rules_for_tier(tier_id).match(path, method)
    if match is None:
        return [default_budget(owner)]
    return [rule.budget(owner) for rule in match.values]


def default_budget(owner: str) -> Budget:
    return Budget(
        f"{owner}/default",
        settings.DEFAULT_RATE_LIMIT_LIMIT,
        settings.DEFAULT_RATE_LIMIT_PERIOD,
        name=DEFAULT_RULE_NAME,
    )


def owner_of_user(user_id: int) -> str:
    return f"user:{user_id}"


def owner_of_address(address: str) -> str:
    """For requests without a key. IPv6 clients count by their /64, because they can use any address in it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "addr:unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return f"addr:{parsed}"
    if parsed.ipv4_mapped:
        return f"addr:{parsed.ipv4_mapped}"
    return f"addr:{ipaddress.ip_network((int(parsed) >> 64 << 64, 64))}"
