"""Limits in tokens or microcents. Services report what a request took once it's over; the reports are charged to balances.

A balance is written in the transaction that records its reports, so each event counts exactly once, whatever happens in between.
A request only reads it, without waiting for writers: something must be left. Requests in flight may overdraw it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from django.db import DEFAULT_DB_ALIAS, connections

from ratelimits.budgets import REQUESTS, Budget, BudgetState, Charge, Counter, Outcome, current, state_of
from ratelimits.models import Balance
from ratelimits.stores import machine_clock

MAX_USED = 2**63 - 1
WRITE = "UPDATE rate_limit_balances SET at = %s, span = %s, used = %s WHERE key = %s"

Hit = Callable[[Sequence[Charge]], Sequence[Outcome]]


def is_reported(budget: Budget) -> bool:
    return budget.unit != REQUESTS


def has_reported(charges: Iterable[Charge]) -> bool:
    return any(budget.unit != REQUESTS for charge in charges for budget in charge.budgets)


def with_balances(charges: Sequence[Charge], hit: Hit, clock: int | None = None) -> list[Outcome]:
    """Charge requests to their other budgets with `hit`; to none if something that is reported is used up."""
    states = states_of({budget for charge in charges for budget in charge.budgets if is_reported(budget)}, clock)
    used_up = {budget for budget, state in states.items() if state.exceeded and not budget.observe}
    others = []
    for budgets, cost in charges:
        fits = used_up.isdisjoint(budgets)
        others.append(Charge([budget for budget in budgets if not is_reported(budget)], cost if fits else 0))
    return [
        merged(charge, outcome, states, fits=charge.cost == 0 or used_up.isdisjoint(charge.budgets))
        for charge, outcome in zip(charges, hit(others), strict=True)
    ]


def merged(charge: Charge, outcome: Outcome, states: Mapping[Budget, BudgetState], *, fits: bool) -> Outcome:
    """The states in the order of the budgets; those of a store that is down are missing."""
    known = {state.budget: state for state in outcome.states}
    for budget in filter(is_reported, charge.budgets):
        known[budget] = states[budget] if charge.cost else states[budget]._replace(exceeded=False, retry_after=0)
    in_order = tuple(known[budget] for budget in charge.budgets if budget in known)
    return outcome._replace(allowed=outcome.allowed and fits, states=in_order)


def reported_only(outcome: Outcome) -> Outcome:
    return outcome._replace(states=tuple(state for state in outcome.states if is_reported(state.budget)))


def states_of(budgets: Collection[Budget], clock: int | None = None) -> dict[Budget, BudgetState]:
    now = machine_clock() if clock is None else clock
    rows = Balance.objects.filter(key__in={budget.key for budget in budgets}).values_list("key", "at", "span", "used")
    counters = {key: Counter(at, span, used) for key, at, span, used in rows}
    return {budget: state_at(budget, counters.get(budget.key), now) for budget in budgets}


def state_at(budget: Budget, counter: Counter | None, now: int) -> BudgetState:
    return state_of(budget, counter, now, 1, fits=has_left(budget, counter, now))


def has_left(budget: Budget, counter: Counter | None, now: int) -> bool:
    return current(budget, counter, now).used < budget.limit


def after_report(budget: Budget, counter: Counter | None, amount: int, now: int) -> Counter:
    counter = current(budget, counter, now)
    return counter._replace(used=min(counter.used + amount, MAX_USED))


def charge_reports(amounts: Mapping[Budget, int], *, clock: int | None = None) -> None:
    """Charge what was reported, in the caller's transaction."""
    if not amounts:
        return
    now = machine_clock() if clock is None else clock
    # Always in the same order, so that two batches can't deadlock.
    keys = sorted({budget.key for budget in amounts})
    Balance.objects.bulk_create([Balance(key=key) for key in keys], ignore_conflicts=True)
    rows = Balance.objects.select_for_update().filter(key__in=keys).order_by("key")
    counters = {row.key: Counter(row.at, row.span, row.used) for row in rows}
    for budget, amount in amounts.items():
        counters[budget.key] = after_report(budget, counters[budget.key], amount, now)
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.executemany(WRITE, [(*counter, key) for key, counter in counters.items()])


def forget_balances(keys: Collection[str]) -> None:
    Balance.objects.filter(key__in=keys).delete()


def sweep_balances() -> int:
    """Remove the balances of windows that are over. Returns how many."""
    removed: int = Balance.objects.filter(at__lte=machine_clock()).delete()[0]
    return removed
