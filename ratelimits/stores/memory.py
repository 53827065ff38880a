"""Counters in this process's memory. For tests only, because every worker would count for itself."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from ratelimits.budgets import Budget, Charge, Counter, Reading, charge_in_turn, counter_keys, reading_of
from ratelimits.stores import Store, machine_clock


class MemoryStore(Store):
    name = "memory"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, Counter] = {}

    def hit_many(self, charges: Sequence[Charge], *, clock: int | None = None) -> list[Reading]:
        with self._lock:
            now = machine_clock() if clock is None else clock
            return charge_in_turn(charges, self._counters, now)

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        with self._lock:
            return self._read(budgets, cost, clock)

    def _read(self, budgets: Sequence[Budget], cost: int, clock: int | None) -> Reading:
        return reading_of(budgets, self._of(budgets), cost, machine_clock() if clock is None else clock)

    def _of(self, budgets: Sequence[Budget]) -> tuple[Counter | None, ...]:
        return tuple(self._counters.get(budget.counter_key) for budget in budgets)

    def reset(self, keys: Collection[str]) -> None:
        with self._lock:
            for key in counter_keys(keys):
                self._counters.pop(key, None)

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        now = machine_clock() if clock is None else clock
        with self._lock:
            expired = [key for key, counter in self._counters.items() if counter.at <= now][:batch]
            for key in expired:
                del self._counters[key]
        return len(expired)

    def count(self) -> int:
        return len(self._counters)

    def clear(self) -> None:
        with self._lock:
            self._counters.clear()

    def close(self) -> None:
        pass
