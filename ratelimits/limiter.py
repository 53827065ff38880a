"""The limiter: may this request be made now, and how do the budgets stand?

    outcome = limiter().hit([Budget("user:7/rule:3", limit=100, period=60)])

One limiter a process. It is exact across threads, processes and hosts, because its store is.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Collection, Sequence

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from ratelimits.budgets import Budget, BudgetState, Outcome, Reading, state
from ratelimits.register import register
from ratelimits.stores import Store, StoreUnavailable
from ratelimits.stores.breaker import Breaker
from ratelimits.stores.memory import MemoryStore
from ratelimits.stores.postgresql import HitParameters, PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.sqlite import SQLiteStore

__all__ = [
    "Budget",
    "BudgetState",
    "Limiter",
    "Outcome",
    "forget_limiter",
    "limiter",
    "made_limiter",
    "store_name",
]

# Hits between two sweeps, on average.
SWEEP_EVERY = 250
AWAY = StoreUnavailable("not asked: the breaker is open")
DEGRADED = {allowed: Outcome(allowed=allowed, degraded=True) for allowed in (True, False)}


class Limiter:
    """A store with manners: it is asked only while it answers, and every answer says how each budget stands.

    Where a method takes closed=True, the store's absence means a refusal whatever RATE_LIMIT_FAIL_OPEN says, and
    RATE_LIMITER_ENABLED does not switch it off: for sign-in.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.breaker = Breaker(store)

    def hit(
        self, budgets: Sequence[Budget], cost: int = 1, *, closed: bool = False, clock: int | None = None
    ) -> Outcome:
        """Charge `cost` to all budgets, or to none if one that is enforced has no room. Cost 0 is always allowed."""
        if cost < 0:
            raise ValueError("The cost of a request is 0 or more.")
        if cost == 0:
            return self.peek(budgets, 0, closed=closed, clock=clock)
        if not budgets or not (closed or settings.RATE_LIMITER_ENABLED):
            return Outcome(allowed=True)
        if self.breaker.is_open:
            return self._degraded(AWAY, closed=closed)
        try:
            reading = self.store.hit(budgets, cost, clock=clock)
        except StoreUnavailable as error:
            return self._degraded(error, closed=closed)
        return self._charged(budgets, reading, cost)

    def hit_with(
        self, run: Callable[[HitParameters], Sequence[int]], budgets: Sequence[Budget], cost: int = 1
    ) -> Outcome | None:
        """As `hit`, charged by a statement of the caller's on the default database.

        run: executes the statement, which passes what it is given to rate_limit_hit, and returns that function's answer.
        None, with nothing charged, where that isn't possible: the counters are elsewhere, unavailable or locked.
        """
        if not budgets or not cost or not isinstance(self.store, PostgreSQLStore) or self.breaker.is_open:
            return None
        reading = self.store.hit_with(run, budgets, cost)
        return None if reading is None else self._charged(budgets, reading, cost)

    def peek(
        self, budgets: Sequence[Budget], cost: int = 1, *, closed: bool = False, clock: int | None = None
    ) -> Outcome:
        """What `hit` would answer; nothing is charged."""
        if not budgets or not (closed or settings.RATE_LIMITER_ENABLED):
            return Outcome(allowed=True)
        if self.breaker.is_open:
            return self._degraded(AWAY, closed=closed)
        try:
            reading = self.store.peek(budgets, cost, clock=clock)
        except StoreUnavailable as error:
            return self._degraded(error, closed=closed)
        return outcome(budgets, reading, cost)

    def reset(self, keys: Collection[str]) -> None:
        """Give these budgets (by key) back in full. Raises StoreUnavailable if the store is away."""
        if keys:
            self.store.reset(keys)

    def _charged(self, budgets: Sequence[Budget], reading: Reading, cost: int) -> Outcome:
        """The outcome of a hit. Records a denial for staff, and now and then sweeps."""
        result = outcome(budgets, reading, cost)
        register.note(result)
        # Twice as many counters are looked at as hits can make, so that dead ones never pile up.
        if random.random() * SWEEP_EVERY < 1:  # noqa: S311  (nothing secret)
            with contextlib.suppress(StoreUnavailable):
                self.store.sweep(batch=2 * SWEEP_EVERY)
        return result

    def _degraded(self, error: StoreUnavailable, *, closed: bool) -> Outcome:
        allowed = settings.RATE_LIMIT_FAIL_OPEN and not closed
        self.breaker.trip(error, allowed=allowed)
        return DEGRADED[allowed]


def outcome(budgets: Sequence[Budget], reading: Reading, cost: int = 1) -> Outcome:
    free = cost == 0
    states = [
        state(budget, counter, reading.now, cost, fits=fits or free)
        for budget, counter, fits in zip(budgets, reading.counters, reading.fits, strict=True)
    ]
    return Outcome(reading.allowed or free, tuple(states))


def store_name() -> str:
    """RATE_LIMIT_STORE, or what suits: redis when REDIS_URL is set, else the kind of the database."""
    if settings.RATE_LIMIT_STORE:
        return str(settings.RATE_LIMIT_STORE)
    return "redis" if settings.REDIS_URL else connections[DEFAULT_DB_ALIAS].vendor


def make_store(name: str) -> Store:
    timeout = settings.RATE_LIMIT_STORE_TIMEOUT / 1000
    if name == "redis":
        return RedisStore(settings.REDIS_URL, timeout=timeout)
    if name == "postgresql":
        return PostgreSQLStore(timeout=timeout)
    if name == "sqlite":
        return SQLiteStore(settings.VAR_DIR / "rate-limits.sqlite3", timeout=timeout)
    return MemoryStore()


_making = threading.Lock()
_made: list[Limiter] = []  # one or none


def limiter() -> Limiter:
    """This process's limiter, made on first use."""
    if not _made:
        with _making:
            if not _made:  # pragma: no branch  (else another thread made it while this one waited)
                _made.append(Limiter(make_store(store_name())))
    return _made[0]


def made_limiter() -> Limiter | None:
    """This process's limiter if it was used yet."""
    return _made[0] if _made else None


def forget_limiter() -> None:
    """Throw this process's limiter away, so that the next use makes another: after a change of settings, in tests."""
    while _made:
        thrown_away = _made.pop()
        thrown_away.breaker.stop()
        thrown_away.store.close()
