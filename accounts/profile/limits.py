"""The rate limits that apply to one user: what each comes from, what is left of it, and when it resets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from accounts.models import User
from ratelimits.budgets import Budget, BudgetState
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.rules import budget_of_key, default_budget, owner_of_user

MOST_LIMITS = 100


class EffectiveLimit(NamedTuple):
    """source: own, tier, key or default. row: the rate limit or the key, None for the default. state: None if unknown."""

    requests: str
    source: str
    budget: Budget
    row: Any = None
    state: BudgetState | None = None

    @property
    def resets_at(self) -> datetime | None:
        used = self.state is not None and self.state.reset_after
        return datetime.fromtimestamp(self.state.resets_at, UTC) if self.state is not None and used else None


class EffectiveLimits(NamedTuple):
    """degraded: the store can't be reached, so the states are unknown."""

    rows: list[EffectiveLimit]
    degraded: bool


def effective_limits(user: User, *, with_keys: bool = True, **only: Any) -> EffectiveLimits:
    """with_keys: also keys' own limits. only: conditions for the limits of the tier and the user."""
    own, of_tier = applicable_limits(user, **only)
    rows = [*limit_rows(own, "own", user), *limit_rows(of_tier, "tier", user)]
    everything = "Everything" if all(row.row.overall for row in rows) else "Everything else"
    rows += [
        EffectiveLimit(everything, "default", default_budget(owner_of_user(user.pk))),
        *(key_rows(user) if with_keys else ()),
    ]
    outcome = limiter().peek([row.budget for row in rows])
    states = {state.budget.key: state for state in outcome.states}
    return EffectiveLimits([row._replace(state=states.get(row.budget.key)) for row in rows], outcome.degraded)


def applicable_limits(user: User, **only: Any) -> tuple[list[RateLimit], list[RateLimit]]:
    """The user's own limits, and those of their tier that these don't replace."""
    tier = user.effective_tier
    own = list(user.rate_limits.effective().filter(**only)[:MOST_LIMITS])
    replaced = {limit.pattern for limit in own}
    of_tier = tier.rate_limits.live().filter(**only)[:MOST_LIMITS] if tier else []
    return own, [limit for limit in of_tier if limit.pattern not in replaced]


def limit_rows(limits: Iterable[RateLimit], source: str, user: User) -> list[EffectiveLimit]:
    owner = owner_of_user(user.pk)
    return [EffectiveLimit(row.requests, source, row.budget(owner, user.billing_day), row) for row in limits]


def key_rows(user: User) -> list[EffectiveLimit]:
    keys: Iterable[Any] = user.api_keys.usable().filter(rate_limit__isnull=False).order_by("name")[:MOST_LIMITS]
    return [
        EffectiveLimit(
            "Everything with this key",
            "key",
            budget_of_key(key.pk, key.rate_limit, key.rate_period, key.rate_window, user.billing_day),
            key,
        )
        for key in keys
    ]
