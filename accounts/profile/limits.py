"""The rate limits that apply to one user: where each comes from, what remains of it, and when it resets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from django.db.models import Q

from accounts.models import User
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.rules import (
    REQUESTS_OF_DEFAULT,
    REQUESTS_OF_KEY,
    LimitLine,
    budget_of_key,
    default_budget,
    line_of_limit,
    owner_of_user,
)

MOST_LIMITS = 100


class EffectiveLimits(NamedTuple):
    """degraded: the store can't be reached, so the states are unknown."""

    rows: list[LimitLine]
    degraded: bool


def effective_limits(user: User, *, with_keys: bool = True, with_observed: bool = True) -> EffectiveLimits:
    """with_keys: also keys' own limits. with_observed: also limits that only observe."""
    [limits] = applicable_limits([user], with_observed=with_observed)
    owner = owner_of_user(user.pk)
    shown = [*limits.own[:MOST_LIMITS], *limits.of_tier[:MOST_LIMITS]]
    rows = [line_of_limit(limit, limit.budget(owner, user.billing_day)) for limit in shown]
    if limits.default_applies:
        everything = "Everything" if all(limit.overall for limit in shown) else REQUESTS_OF_DEFAULT
        rows.append(LimitLine(everything, "default", default_budget(owner)))
    rows += key_rows(user) if with_keys else ()
    outcome = limiter().peek([row.budget for row in rows])
    states = {state.budget.key: state for state in outcome.states}
    return EffectiveLimits([row._replace(state=states.get(row.budget.key)) for row in rows], outcome.degraded)


class Applicable(NamedTuple):
    """A user's own limits, and those of their tier that these don't replace.

    default_applies: whether there are requests that no limit but overall ones matches.
    """

    own: list[RateLimit]
    of_tier: list[RateLimit]
    default_applies: bool


def applicable_limits(users: Sequence[User], *, with_observed: bool = True) -> Iterator[Applicable]:
    """The limits that apply to each user, in the order of `users`. One that only observes replaces others, too."""
    tiers = [user.effective_tier for user in users]
    owners = Q(user__in=users) | Q(tier__in={tier for tier in tiers if tier is not None})
    by_owner: dict[tuple[int | None, int | None], list[RateLimit]] = defaultdict(list)
    for limit in RateLimit.objects.effective().filter(owners).select_related("tier"):
        by_owner[limit.tier_id, limit.user_id].append(limit)
    for user, tier in zip(users, tiers, strict=True):
        own = by_owner[None, user.pk]
        replaced = {limit.pattern for limit in own}
        of_tier = [limit for limit in by_owner[tier.pk, None] if limit.pattern not in replaced] if tier else []
        default_applies = not any(limit.matches_everything for limit in (*own, *of_tier))
        if not with_observed:
            own, of_tier = ([limit for limit in limits if limit.is_enforced] for limits in (own, of_tier))
        yield Applicable(own, of_tier, default_applies)


def key_rows(user: User) -> list[LimitLine]:
    keys: Iterable[Any] = user.api_keys.usable().filter(rate_limit__isnull=False).order_by("name")[:MOST_LIMITS]
    return [
        LimitLine(
            REQUESTS_OF_KEY,
            "key",
            budget_of_key(key.pk, key.rate_limit, key.rate_period, key.rate_window, user.billing_day),
            key,
        )
        for key in keys
    ]
