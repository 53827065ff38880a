"""How much of their rate limits users have used: of many users at once, in one exchange with the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from django.db.models import Q

from accounts.models import User
from ratelimits.budgets import Budget, BudgetState
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.rules import default_budget, owner_of_user

# Percent of a quota from which on a user is near it.
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
        """Of a badge."""
        return "danger" if self.state.remaining == 0 else "warn" if self.percent >= NEAR else "muted"

    @property
    def words(self) -> str:
        budget = self.state.budget
        return f"{budget.name}: {self.state.remaining:,} of {budget.in_words} remaining"


def tightest(users: Iterable[User]) -> dict[int, Used]:
    """By user, the enforced limit of which the most is used. Nobody is in it while the store is unavailable."""
    found: dict[int, Used] = {}
    for used in used_limits(users):
        if used.user.pk not in found or used.percent > found[used.user.pk].percent:
            found[used.user.pk] = used
    return found


def near_quota(users: Iterable[User]) -> list[Used]:
    """Quotas of a day or more that are used up, or nearly; the fullest first."""
    near = [used for used in used_limits(users, lasting=True) if used.percent >= NEAR]
    return sorted(near, key=lambda used: (-used.percent, used.user.username))


def used_limits(users: Iterable[User], *, lasting: bool = False) -> list[Used]:
    budgets = [
        (user, limit, budget)
        for user, limits in limits_of(list(users))
        for limit in (*limits, None)
        if not lasting or (limit and limit.budget("").is_lasting)
        for budget in [budget_of(user, limit)]
    ]
    states = limiter().peek([budget for *_, budget in budgets]).states
    return [Used(user, limit, state) for (user, limit, _), state in zip(budgets, states, strict=False)]


def budget_of(user: User, limit: RateLimit | None) -> Budget:
    owner = owner_of_user(user.pk)
    return limit.budget(owner, user.billing_day) if limit else default_budget(owner)


def limits_of(users: list[User]) -> Iterator[tuple[User, list[RateLimit]]]:
    """The enforced limits of each user: their own, and those of the tier that these don't replace."""
    tiers = {user.pk: user.effective_tier for user in users}
    owners = Q(user__in=users) | Q(tier__in={tier for tier in tiers.values() if tier is not None})
    by_owner: dict[tuple[str, int | None], list[RateLimit]] = defaultdict(list)
    for limit in RateLimit.objects.effective().filter(owners, mode=RateLimit.Mode.ENFORCE).order_by("pk"):
        by_owner[("user", limit.user_id) if limit.user_id else ("tier", limit.tier_id)].append(limit)
    for user in users:
        own, tier = by_owner["user", user.pk], tiers[user.pk]
        replaced = {limit.pattern for limit in own}
        of_tier = by_owner["tier", tier.pk] if tier else []
        yield user, [*own, *(limit for limit in of_tier if limit.pattern not in replaced)]
