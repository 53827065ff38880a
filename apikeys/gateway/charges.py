"""Charge reported tokens and cost to the limits of the users who made the requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model

from apikeys.models import KeyUsage
from ratelimits.budgets import Budget
from ratelimits.rules import NO_RULES, Rules, budgets_for, own_rules_of_users, owner_of_user
from ratelimits.stores.balances import charge_reports

FIELDS = {"tokens": "tokens_used", "microcents": "cost_microcents"}


class Payer(NamedTuple):
    """What decides which limits a user's events are charged to."""

    tier_id: int | None
    billing_day: int
    own: Rules


def charge_limits(reported: Iterable[tuple[KeyUsage, Mapping[str, Any]]]) -> None:
    """Runs in the caller's transaction."""
    figures = [(event, report) for event, report in reported if any(report.get(field) for field in FIELDS.values())]
    if not figures:
        return
    payers = payers_of({event.user_id for event, _ in figures})
    amounts: Counter[Budget] = Counter()
    for event, report in figures:
        for budget in budgets_of(event, payers.get(event.user_id)):
            if amount := report.get(FIELDS.get(budget.unit, "")):
                amounts[budget] += amount
    charge_reports(amounts)


def payers_of(user_ids: Collection[int]) -> dict[int, Payer]:
    own = own_rules_of_users(user_ids)
    users = get_user_model()._default_manager.filter(pk__in=user_ids).select_related("tier")
    payers = {}
    for user in users:
        tier = user.effective_tier
        payers[user.pk] = Payer(tier.pk if tier else None, user.billing_day, own.get(user.pk, NO_RULES))
    return payers


def budgets_of(event: KeyUsage, payer: Payer | None) -> list[Budget]:
    """Those that the request of this event was checked against, as far as they're still the user's."""
    if payer is None:  # purged in the meantime
        return []
    # A named resource counts as the path of that name, as in the decision.
    path = f"/{event.endpoint.strip('/')}"
    owner = owner_of_user(event.user_id)
    return budgets_for(
        owner, payer.tier_id, event.method, path, event.host, own=payer.own, billing_day=payer.billing_day
    )
