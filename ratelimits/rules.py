"""Which rate limits apply to a request. A tier's rules are compiled and cached for a few seconds; a user's own ones come with
the lookup of the request and are compiled once.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings

from ratelimits.budgets import Budget, BudgetState, rate_in_words, rule_key
from ratelimits.matching import Match, PatternTrie
from ratelimits.models import RateLimit

# Seconds. A change must take effect everywhere within 5.
CACHE_SECONDS = 3.0
DEFAULT_RULE_NAME = "default"
REQUESTS_OF_DEFAULT = "Everything else"
REQUESTS_OF_KEY = "Everything with this key"
# Of the table: what a rule is compiled from. `apikeys.decision.lookup` reads a user's own ones.
COLUMNS = ("path", "method", "host", "overall", "id", "name", "limit", "period", "window", "mode", "unit")


class Rule(NamedTuple):
    id: int
    name: str
    limit: int
    period: int
    window: str
    observe: bool
    unit: str = "requests"
    is_own: bool = False
    overall: bool = False

    @property
    def in_words(self) -> str:
        return rate_in_words(self.limit, self.period, self.window, self.unit)

    def budget(self, owner: str, billing_day: int = 1) -> Budget:
        key = rule_key(owner, self.id)
        return Budget(
            key, self.limit, self.period, self.window, self.name, self.observe, self.id, self.unit, billing_day
        )


class Rules(NamedTuple):
    """overall: the limits that count in addition to the most specific ones; None if there are none."""

    specific: PatternTrie[Rule]
    overall: PatternTrie[Rule] | None = None


NO_RULES = Rules(PatternTrie())


class Cached(NamedTuple):
    checked_at: float
    rows: list[Any]
    rules: Rules


_cached: dict[int, Cached] = {}


def rules_for_tier(tier_id: int) -> Rules:
    """The tier's live limits, at most CACHE_SECONDS old; compiled again only if one changed."""
    known = _cached.get(tier_id)
    now = time.monotonic()
    if known is not None and now - known.checked_at < CACHE_SECONDS:
        return known.rules
    # Compares the rows, not their newest `updated_at`: an earlier change, or one from a machine whose clock is behind, may
    # become visible after a newer one.
    rows = rows_of(tier_id=tier_id)
    rules = known.rules if known is not None and known.rows == rows else compiled(rows)
    _cached[tier_id] = Cached(now, rows, rules)
    return rules


def rows_of(**owner: Any) -> list[Any]:
    """owner: tier_id or user_id."""
    return list(RateLimit.objects.effective().filter(**owner).order_by("period", "pk").values_list(*COLUMNS))


def compiled(rows: Iterable[Any], *, own: bool = False) -> Rules:
    specific: PatternTrie[Rule] = PatternTrie()
    overall: PatternTrie[Rule] = PatternTrie()
    is_empty = True
    for path, method, host, is_overall, pk, name, limit, period, window, mode, unit in rows:
        rule = Rule(pk, name, limit, period, window, mode == RateLimit.Mode.OBSERVE, unit, own, bool(is_overall))
        (overall if is_overall else specific).add(path, rule, method, host)
        is_empty = is_empty and not is_overall
    return Rules(specific, None if is_empty else overall)


@lru_cache(maxsize=1024)
def own_rules(rows: str) -> Rules:
    """rows: the user's own limits that are in force, as lists in JSON with commas between them."""
    return compiled(sorted(json.loads(f"[{rows}]"), key=by_period), own=True)


def by_period(row: list[Any]) -> tuple[int, int]:
    return row[COLUMNS.index("period")], row[COLUMNS.index("id")]


def own_rules_of(user_id: int) -> Rules:
    rows = rows_of(user_id=user_id)
    return compiled(rows, own=True) if rows else NO_RULES


def own_rules_of_users(user_ids: Collection[int]) -> dict[int, Rules]:
    """Only includes users who have any."""
    rows: dict[int, list[Any]] = {}
    limits = RateLimit.objects.effective().filter(user__in=user_ids).order_by("period", "pk")
    for user_id, *row in limits.values_list("user_id", *COLUMNS):
        rows.setdefault(user_id, []).append(row)
    return {user_id: compiled(of_user, own=True) for user_id, of_user in rows.items()}


def forget_rules() -> None:
    """Make a change take effect at once in this process."""
    _cached.clear()


def budgets_for(
    owner: str,
    tier_id: int | None,
    method: str,
    path: str,
    host: str = "",
    *,
    own: Rules = NO_RULES,
    billing_day: int = 1,
) -> list[Budget]:
    """The budgets that a request is charged to, to all or to none: those of the winning pattern, or else the shared default,
    and all overall ones.

    owner: from `owner_of_user`, or from `owner_of_address` without a key. path: canonical. host: in normal form.
    """
    tier = NO_RULES if tier_id is None else rules_for_tier(tier_id)
    return budgets_under(owner, tier, own, (method, path, host), billing_day)


def budgets_under(owner: str, tier: Rules, own: Rules, request: tuple[str, str, str], billing_day: int) -> list[Budget]:
    """As `budgets_for`, under the given rules. request: method, path and host."""
    winner = next(specific_matches(tier, own, *request), None)
    budgets = [rule.budget(owner, billing_day) for rule in winner.values] if winner else [default_budget(owner)]
    if tier.overall or own.overall:
        for match in overall_matches(tier, own, *request):
            budgets += [rule.budget(owner, billing_day) for rule in match.values]
    return budgets


def specific_matches(tier: Rules, own: Rules, method: str, path: str, host: str = "") -> Iterator[Match[Rule]]:
    """The patterns that match, the winner first. Where user and tier have the same, the user's replaces the tier's."""
    return merged(tier.specific, own.specific if own is not NO_RULES else None, method, path, host)


def overall_matches(tier: Rules, own: Rules, method: str, path: str, host: str = "") -> Iterator[Match[Rule]]:
    return merged(tier.overall, own.overall, method, path, host)


def merged(
    tier: PatternTrie[Rule] | None, own: PatternTrie[Rule] | None, method: str, path: str, host: str
) -> Iterator[Match[Rule]]:
    if own is None:
        return iter(()) if tier is None else tier.candidates(path, method, host)
    matches = {match.rank: match for trie in (tier, own) if trie for match in trie.candidates(path, method, host)}
    return iter(sorted(matches.values(), key=lambda match: match.rank))


def default_budget(owner: str) -> Budget:
    return Budget(
        f"{owner}/default",
        settings.DEFAULT_RATE_LIMIT_LIMIT,
        settings.DEFAULT_RATE_LIMIT_PERIOD,
        name=DEFAULT_RULE_NAME,
    )


def budget_of_key(key_id: Any, limit: int, period: int, window: str, billing_day: int) -> Budget:
    """The budget of a key's own limit."""
    return Budget(f"key:{key_id}", limit, period, window, name="key", billing_day=billing_day)


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


# --- For pages ---


class LimitLine(NamedTuple):
    """A rate limit as pages show it: what it counts, its rate, where it comes from, what is left and when it resets.

    source: own, tier, key or default. row: the rate limit or the key, None for the default. state: None if unknown.
    """

    requests: str
    source: str
    budget: Budget
    row: Any = None
    state: BudgetState | None = None

    @property
    def is_pattern(self) -> bool:
        return self.source in {"own", "tier"}


def line_of_limit(limit: RateLimit, budget: Budget, state: BudgetState | None = None) -> LimitLine:
    return LimitLine(limit.requests, "tier" if limit.user_id is None else "own", budget, limit, state)


def lines_of(states: Iterable[BudgetState], key: Any = None) -> list[LimitLine]:
    """The lines for the budgets of one request. key: its row or record, for the key's own limit."""
    states = list(states)
    pks = [state.budget.rule_id for state in states if state.budget.rule_id is not None]
    limits = RateLimit.objects.select_related("tier").in_bulk(pks)
    return [line_of(state, limits.get(state.budget.rule_id or 0), key) for state in states]


def line_of(state: BudgetState, limit: RateLimit | None, key: Any) -> LimitLine:
    if limit is not None:
        return line_of_limit(limit, state.budget, state)
    if state.budget.name == DEFAULT_RULE_NAME:
        return LimitLine(REQUESTS_OF_DEFAULT, "default", state.budget, None, state)
    return LimitLine(REQUESTS_OF_KEY, "key", state.budget, key, state)
