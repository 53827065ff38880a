"""What the limiter would have said, by a clock that the caller sets. Counts in memory, and records nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ratelimits.budgets import Budget, Charge, Counter, charge_in_turn
from ratelimits.stores.balances import after_report, has_left, is_reported


class Simulation:
    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._balances: dict[str, Counter] = {}

    def hit(self, budgets: Sequence[Budget], now: int) -> list[Budget]:
        """The budgets that a request exceeds. It's charged to all or to none, as by `Limiter.hit`."""
        reported = [budget for budget in budgets if is_reported(budget)]
        used_up = [budget for budget in reported if not has_left(budget, self._balances.get(budget.key), now)]
        others = [budget for budget in budgets if budget not in reported] if reported else budgets
        cost = int(not denies(used_up))
        reading = charge_in_turn([Charge(others, cost)], self._counters, now)[0]
        return [*used_up, *(budget for budget, fits in zip(others, reading.fits, strict=True) if not fits)]

    def report(self, budget: Budget, amount: int, now: int) -> None:
        """Charge tokens or cost, as a service reported them."""
        self._balances[budget.key] = after_report(budget, self._balances.get(budget.key), amount, now)


def denies(exceeded: Sequence[Budget]) -> bool:
    return any(not budget.observe for budget in exceeded)
