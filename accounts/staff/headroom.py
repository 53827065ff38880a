"""How much of their rate limits many users have used, in one round trip to the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from accounts.models import User
from accounts.profile.limits import applicable_limits
from ratelimits.budgets import Budget, BudgetState
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.rules import default_budget, owner_of_user

# A user who has used this percentage of a quota is near it.
NEAR = 80


class Used(NamedTuple):
    """limit: None for the default one."""

    user: User
    limit: RateLimit | None
    state: BudgetState

    @property
    def percent(self) -> int:
        most = self.state.budget.limit
        return 100 * (most - self.state.remaining) // most

    @property
    def kind(self) -> str:
        return "danger" if self.state.remaining == 0 else "warn" if self.percent >= NEAR else "muted"

    @property
    def words(self) -> str:
        budget = self.state.budget
        requests = self.limit.requests if self.limit else "everything else"
        return f"{budget.name}: {self.state.left} of {budget.in_words} remaining ({requests})"


def tightest(users: Iterable[User]) -> dict[int, Used]:
    """The enforced limit that each user has used most. Empty while the store is unavailable."""
    found: dict[int, Used] = {}
    for used in used_limits(users):
        if used.user.pk not in found or used.percent > found[used.user.pk].percent:
            found[used.user.pk] = used
    return found


def near_quota(users: Iterable[User]) -> list[Used]:
    """Quotas that are used up, or nearly; the fullest first."""
    near = [used for used in used_limits(users, lasting=True) if used.percent >= NEAR]
    return sorted(near, key=lambda used: (-used.percent, used.user.username))


def used_limits(users: Iterable[User], *, lasting: bool = False) -> list[Used]:
    users = list(users)
    budgets = [
        (user, limit, budget)
        for user, limits in zip(users, applicable_limits(users, with_observed=False), strict=True)
        for limit in (*limits.own, *limits.of_tier, *((None,) if limits.default_applies else ()))
        if not lasting or (limit and limit.budget("").is_lasting)
        for budget in [budget_of(user, limit)]
    ]
    states = limiter().peek([budget for *_, budget in budgets]).states
    return [Used(user, limit, state) for (user, limit, _), state in zip(budgets, states, strict=False)]


def budget_of(user: User, limit: RateLimit | None) -> Budget:
    owner = owner_of_user(user.pk)
    return limit.budget(owner, user.billing_day) if limit else default_budget(owner)
