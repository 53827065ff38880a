"""The limiter: charges requests to budgets, and returns the state of the budgets.

    outcome = limiter().hit([Budget("user:7/rule:3", limit=100, period=60)])

One limiter per process. It is exact across threads, processes and hosts, because its store is.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections

from ratelimits.budgets import Budget, BudgetState, Charge, Outcome, Reading, state_of
from ratelimits.recorder import recorder
from ratelimits.stores import DurableStore, Store, StoreUnavailable
from ratelimits.stores.balances import forget_balances, has_reported, reported_only, with_balances
from ratelimits.stores.breaker import Breaker
from ratelimits.stores.memory import MemoryStore
from ratelimits.stores.postgresql import ChargeParameters, PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.split import SplitStore
from ratelimits.stores.sqlite import SQLiteStore

__all__ = [
    "Budget",
    "BudgetState",
    "Limiter",
    "Outcome",
    "forget_limiter",
    "limiter",
    "store_name",
]

# Seconds to wait at least for quotas when Redis counts the rest. They never fail open, and the usage row needs the database anyway.
QUOTA_TIMEOUT = 1.0
# Hits between two sweeps, on average.
SWEEP_EVERY = 250
BREAKER_OPEN = StoreUnavailable("The breaker is open.")
DENIED = Outcome(allowed=False, degraded=True)


class Limiter:
    """A store behind a circuit breaker.

    fail_closed=True is for sign-in: without the store the request is denied, whatever RATE_LIMIT_FAIL_OPEN says, and
    RATE_LIMITER_ENABLED=false doesn't disable it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.breaker = Breaker(store)
        # Counts lasting budgets while Redis is down.
        self._lasting = Limiter(store.lasting) if isinstance(store, SplitStore) else None

    def hit(
        self, budgets: Sequence[Budget], cost: int = 1, *, fail_closed: bool = False, clock: int | None = None
    ) -> Outcome:
        """Charge `cost` to all budgets, or to none if it exceeds an enforced one. A cost of 0 is always allowed."""
        return self.hit_many([Charge(budgets, cost)], fail_closed=fail_closed, clock=clock)[0]

    def hit_many(
        self, charges: Sequence[Charge], *, fail_closed: bool = False, clock: int | None = None
    ) -> list[Outcome]:
        """Charge one request after the other, like `hit`, in one exchange with the store.

        Raises OperationalError, with nothing charged, if the database can't count lasting budgets: they never fail open.
        """
        if any(charge.cost < 0 for charge in charges):
            raise ValueError("The cost must be 0 or more.")
        if not any(charge.budgets for charge in charges) or not (fail_closed or settings.RATE_LIMITER_ENABLED):
            return [Outcome(allowed=True)] * len(charges)
        if has_reported(charges):
            outcomes = with_balances(charges, partial(self.hit_many, fail_closed=fail_closed, clock=clock), clock)
            for outcome in outcomes:
                recorder.record(reported_only(outcome))
            return outcomes
        if self.breaker.is_open and not self._has_lasting(charges):
            return self._degraded(charges, BREAKER_OPEN, fail_closed=fail_closed, clock=clock)
        try:
            readings = self.store.hit_many(charges, clock=clock)
        except StoreUnavailable as error:
            return self._degraded(charges, error, fail_closed=fail_closed, clock=clock)
        return self._charged(charges, readings)

    def hit_with(
        self, run: Callable[[ChargeParameters], Sequence[int]], charges: Sequence[Charge]
    ) -> list[Outcome] | None:
        """Like `hit_many`, but charged by the caller's own statement on the default database.

        run: executes the statement, which passes the parameters to rate_limit_charge, and returns that procedure's answer.
        Returns None, with nothing charged, if the counters are elsewhere, unavailable or locked.
        """
        if not isinstance(self.store, PostgreSQLStore) or self.breaker.is_open or has_reported(charges):
            return None
        readings = self.store.hit_with(run, charges)
        return None if readings is None else self._charged(charges, readings)

    def peek(
        self, budgets: Sequence[Budget], cost: int = 1, *, fail_closed: bool = False, clock: int | None = None
    ) -> Outcome:
        """What `hit` would return, without charging anything."""
        if not budgets or not (fail_closed or settings.RATE_LIMITER_ENABLED):
            return Outcome(allowed=True)
        if has_reported([Charge(budgets, cost)]):

            def hit(charges: Sequence[Charge]) -> list[Outcome]:
                return [self.peek(*charge, fail_closed=fail_closed, clock=clock) for charge in charges]

            return with_balances([Charge(budgets, cost)], hit, clock)[0]
        # Without the store, a cost of 0 looks at what the durable store has.
        look = [Charge(budgets, 0)]
        if self.breaker.is_open:
            return self._degraded(look, BREAKER_OPEN, fail_closed=fail_closed, clock=clock)[0]
        try:
            reading = self.store.peek(budgets, cost, clock=clock)
        except StoreUnavailable as error:
            return self._degraded(look, error, fail_closed=fail_closed, clock=clock)[0]
        return outcome_of(budgets, reading, cost)

    def reset(self, keys: Collection[str]) -> None:
        """Forget what was counted under these budget keys. Raises StoreUnavailable."""
        if keys:
            self.store.reset(keys)
            forget_balances(keys)

    def close(self) -> None:
        """Close this thread's connections, and stop probing a store that is down."""
        self.breaker.stop()
        if self._lasting is not None:
            self._lasting.breaker.stop()
        self.store.close()

    def _charged(self, charges: Sequence[Charge], readings: Sequence[Reading]) -> list[Outcome]:
        """The outcomes of hits. Records denials for staff, and sweeps now and then."""
        outcomes = [
            outcome_of(charge.budgets, reading, charge.cost) for charge, reading in zip(charges, readings, strict=True)
        ]
        for result in outcomes:
            recorder.record(result)
        # Checks twice as many counters as hits create, so that expired ones never pile up.
        if random.random() * SWEEP_EVERY < len(charges):  # noqa: S311  (nothing secret)
            with contextlib.suppress(StoreUnavailable):
                self.store.sweep(batch=2 * SWEEP_EVERY)
        return outcomes

    def _degraded(
        self, charges: Sequence[Charge], error: StoreUnavailable, *, fail_closed: bool, clock: int | None
    ) -> list[Outcome]:
        """The outcomes without the store. A request that doesn't need it is decided as usual."""
        allowed = settings.RATE_LIMIT_FAIL_OPEN and not fail_closed
        rest = [self._without_store(charge, allowed=allowed) for charge in charges]
        if self._lasting is None:
            outcomes = [Outcome(allowed=True)] * len(charges)
        else:
            outcomes = self._lasting.hit_many(rest, fail_closed=fail_closed, clock=clock)
        must_count = allowed and self._has_lasting([charge for charge in charges if charge.cost])
        for number, charge in enumerate(charges):
            if len(rest[number].budgets) < len(charge.budgets):
                self.breaker.trip(error, allowed=allowed and not must_count and outcomes[number].allowed)
                outcomes[number] = outcomes[number]._replace(degraded=True) if allowed else DENIED
        if must_count:
            raise OperationalError(f"The database can't count quotas: {error}") from error
        return outcomes

    def _has_lasting(self, charges: Sequence[Charge]) -> bool:
        """Whether the store itself has to count lasting budgets. It's asked for them while the breaker is open, too."""
        return self._lasting is None and any(budget.is_lasting for charge in charges for budget in charge.budgets)

    def _without_store(self, charge: Charge, *, allowed: bool) -> Charge:
        """What can still be charged: nothing if that isn't all and requests aren't allowed then."""
        lasting = [budget for budget in charge.budgets if budget.is_lasting and self._lasting is not None]
        return Charge(lasting if allowed or len(lasting) == len(charge.budgets) else [], charge.cost)


def outcome_of(budgets: Sequence[Budget], reading: Reading, cost: int = 1) -> Outcome:
    free = cost == 0
    states = [
        state_of(budget, counter, reading.now, cost, fits=fits or free)
        for budget, counter, fits in zip(budgets, reading.counters, reading.fits, strict=True)
    ]
    return Outcome(reading.allowed or free, tuple(states))


def store_name() -> str:
    if settings.RATE_LIMIT_STORE:
        return str(settings.RATE_LIMIT_STORE)
    return "redis" if settings.REDIS_URL else connections[DEFAULT_DB_ALIAS].vendor


def make_store(name: str) -> Store:
    timeout = settings.RATE_LIMIT_STORE_TIMEOUT / 1000
    if name == "redis":
        lasting = durable_store(max(timeout, QUOTA_TIMEOUT))
        return SplitStore(RedisStore(settings.REDIS_URL, timeout=timeout), lasting)
    if name == "memory":
        return MemoryStore()
    return durable_store(timeout, name)


def durable_store(timeout: float, name: str = "") -> DurableStore:
    """The store with this name, or else that of the database."""
    if (name or connections[DEFAULT_DB_ALIAS].vendor) == "postgresql":
        return PostgreSQLStore(timeout=timeout)
    return SQLiteStore(settings.VAR_DIR / "rate-limits.sqlite3", timeout=timeout)


_lock = threading.Lock()
_limiters: list[Limiter] = []  # one or none


def limiter() -> Limiter:
    if not _limiters:
        with _lock:
            if not _limiters:  # pragma: no branch  (another thread created it while this one waited)
                _limiters.append(Limiter(make_store(store_name())))
    return _limiters[0]


def forget_limiter() -> None:
    """Close this process's limiter, so that the next use creates another: for tests that change settings."""
    while _limiters:
        discarded = _limiters.pop()
        discarded.close()
