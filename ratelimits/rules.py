"""Which limits apply to a request: the rules of a tier, compiled and kept for a few seconds, turned into budgets."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.conf import settings

from ratelimits.budgets import Budget, rate_in_words, rule_key
from ratelimits.matching import PatternTrie
from ratelimits.models import RateLimit

# A change must be in force everywhere within 5 seconds.
KEPT_FOR = 3.0
DEFAULT_RULE_NAME = "default"


class Rule(NamedTuple):
    """A rate limit as the limiter needs it."""

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
    """The tier's live limits, compiled. At most KEPT_FOR seconds old; compiled anew only when something changed."""
    known = _compiled.get(tier_id)
    now = time.monotonic()
    if known is not None and now - known.checked_at < KEPT_FOR:
        return known.trie
    # The rows themselves are compared, not their newest `updated_at`: a change that was made earlier, or on a machine
    # whose clock is behind, may become visible later than a newer one.
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
    """Read the rules anew on their next use: in this process, after a change that was made in it."""
    _compiled.clear()


def budgets_for(owner: str, tier_id: int | None, method: str, path: str) -> list[Budget]:
    """The budgets that a request is charged to: those of the winning pattern, else the one shared default.

    owner: `user:<id>`, or `owner_of_address(…)` without a key. path: canonical. All of them together, all or nothing.
    """
    match = None if tier_id is None else rules_for_tier(tier_id).match(path, method)
    if match is None:
        return [default_budget(owner)]
    return [rule.budget(owner) for rule in match.values]


def default_budget(owner: str) -> Budget:
    """DEFAULT_RATE_LIMIT_LIMIT per DEFAULT_RATE_LIMIT_PERIOD, shared by all paths that no rule matches."""
    return Budget(
        f"{owner}/default",
        settings.DEFAULT_RATE_LIMIT_LIMIT,
        settings.DEFAULT_RATE_LIMIT_PERIOD,
        name=DEFAULT_RULE_NAME,
    )


def owner_of_user(user_id: int) -> str:
    return f"user:{user_id}"


def owner_of_address(address: str) -> str:
    """The owner of requests without a key. An IPv6 client has a whole /64 to rotate through, so that is what counts."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "addr:unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return f"addr:{parsed}"
    if parsed.ipv4_mapped:
        return f"addr:{parsed.ipv4_mapped}"
    return f"addr:{ipaddress.ip_network((int(parsed) >> 64 << 64, 64))}"
