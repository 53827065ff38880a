"""Counters of short windows in Redis, those of lasting budgets in the database: a Redis that is restarted, flushed or full
never hands out a fresh quota.

A request with budgets of both kinds is charged to all of them or to none, exactly. The database's counters are locked and read;
Redis charges all requests in turn, taking into account what the held ones have used; what it admitted is written to the
database, and the lock goes. If the process dies in between, the short windows have counted requests that nobody answered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ratelimits.budgets import Budget, Charge, Reading
from ratelimits.stores import DurableStore, Store
from ratelimits.stores.redis import RedisStore


class SplitStore(Store):
    def __init__(self, short: RedisStore, lasting: DurableStore) -> None:
        self.short = short
        self.lasting = lasting
        self.name = short.name

    def hit_many(self, charges: Sequence[Charge], *, clock: int | None = None) -> list[Reading]:
        budgets = [budget for charge in charges for budget in charge.budgets]
        keys = {budget.counter_key for budget in budgets if budget.is_lasting}
        if not keys:
            return self.short.hit_many(charges, clock=clock)
        if all(budget.is_lasting for budget in budgets):
            return self.lasting.hit_many(charges, clock=clock)
        with self.lasting.held(keys, clock=clock) as held:
            return self.short.hit_many(charges, clock=clock, held=held)

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        short = [budget for budget in budgets if not budget.is_lasting]
        lasting = [budget for budget in budgets if budget.is_lasting]
        if not lasting:
            return self.short.peek(short, cost, clock=clock)
        reading = self.lasting.peek(lasting, cost, clock=clock)
        return merged(budgets, self.short.peek(short, cost, clock=clock), reading) if short else reading

    def reset(self, keys: Collection[str]) -> None:
        self.short.reset(keys)
        self.lasting.reset(keys)

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        return self.short.sweep(batch=batch, clock=clock) + self.lasting.sweep(batch=batch, clock=clock)

    def count(self) -> int:
        return self.short.count() + self.lasting.count()

    def clear(self) -> None:
        self.short.clear()
        self.lasting.clear()

    def ping(self) -> None:
        self.short.ping()
        self.lasting.ping()

    def close(self) -> None:
        self.short.close()
        self.lasting.close()


def merged(budgets: Sequence[Budget], short: Reading, lasting: Reading) -> Reading:
    readings = {
        is_lasting: zip(reading.fits, reading.counters, strict=True)
        for is_lasting, reading in ((False, short), (True, lasting))
    }
    rows = [next(readings[budget.is_lasting]) for budget in budgets]
    fits, counters = zip(*rows, strict=True)
    return Reading(short.allowed and lasting.allowed, short.now, fits, counters)
