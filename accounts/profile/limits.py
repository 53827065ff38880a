"""The rate limits that apply to one user: what each comes from, what is left of it, and when it resets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db.models import Q

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
    [limits] = applicable_limits([user], **only)
    rows = [
        *limit_rows(limits.own[:MOST_LIMITS], "own", user),
        *limit_rows(limits.of_tier[:MOST_LIMITS], "tier", user),
    ]
    everything = "Everything" if all(row.row.overall for row in rows) else "Everything else"
    rows += [
        EffectiveLimit(everything, "default", default_budget(owner_of_user(user.pk))),
        *(key_rows(user) if with_keys else ()),
    ]
    outcome = limiter().peek([row.budget for row in rows])
    states = {state.budget.key: state for state in outcome.states}
    return EffectiveLimits([row._replace(state=states.get(row.budget.key)) for row in rows], outcome.degraded)


class Applicable(NamedTuple):
    """A user's own limits, and those of their tier that these don't replace."""

    own: list[RateLimit]
    of_tier: list[RateLimit]


def applicable_limits(users: Sequence[User], **only: Any) -> Iterator[Applicable]:
    """The limits that apply to each user, in the order of `users`."""
    tiers = [user.effective_tier for user in users]
    owners = Q(user__in=users) | Q(tier__in={tier for tier in tiers if tier is not None})
    by_owner: dict[tuple[int | None, int | None], list[RateLimit]] = defaultdict(list)
    for limit in RateLimit.objects.effective().filter(owners, **only):
        by_owner[limit.tier_id, limit.user_id].append(limit)
    for user, tier in zip(users, tiers, strict=True):
        own = by_owner[None, user.pk]
        replaced = {limit.pattern for limit in own}
        of_tier = by_owner[tier.pk, None] if tier else []
        yield Applicable(own, [limit for limit in of_tier if limit.pattern not in replaced])


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
