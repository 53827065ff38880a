"""Where counters are stored. tests/ratelimits/stores/test_stores.py holds every store to the same behavior."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ratelimits.budgets import Budget, Charge, Counter, Reading

# Seconds a hit waits for the store, unless RATE_LIMIT_STORE_TIMEOUT says otherwise.
TIMEOUT = 0.04
# One of each kind of counter, with limits that probes never reach.
PROBE = "probe"
PROBE_BUDGETS = (Budget(PROBE, 1_000_000, 60), Budget(PROBE, 1_000_000, 24 * 3600, "fixed"))


class StoreUnavailable(Exception):
    """The store is down or didn't answer in time."""


class Store(Protocol):
    """Exact across threads and processes. The store's own clock decides; tests pass `clock` (microseconds) instead.

    `hit`, `hit_many`, `peek`, `reset` and `ping` wait `timeout` seconds for the store, then raise StoreUnavailable.
    """

    name: str

    def hit(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        """Charge all budgets, or none if the cost exceeds an enforced one. Exceeded observed ones aren't charged."""
        return self.hit_many([Charge(budgets, cost)], clock=clock)[0]

    def hit_many(self, charges: Sequence[Charge], *, clock: int | None = None) -> list[Reading]:
        """Charge one request after the other, like `hit`, in one exchange with the store."""

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        """What `hit` would return, without charging anything."""

    def reset(self, keys: Collection[str]) -> None:
        """Remove the counters of these budget keys."""

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        """Remove the expired ones of the next `batch` counters. Returns how many it removed."""

    def count(self) -> int:
        """The number of counters, including expired ones."""

    def clear(self) -> None:
        """Remove all counters."""

    def ping(self) -> None:
        """Make sure that the store can count. A simple PING would succeed on one that rejects writes."""
        self.hit(PROBE_BUDGETS)
        self.reset([PROBE])

    def close(self) -> None:
        """Close this thread's connection."""


class Held(NamedTuple):
    """Locked counters by counter_key, and the store's clock."""

    counters: dict[str, Counter]
    now: int


class DurableStore(Store, Protocol):
    """A store that keeps lasting budgets through a crash."""

    def held(self, keys: Collection[str], *, clock: int | None = None) -> AbstractContextManager[Held]:
        """Lock these counters, given by counter_key. Writes those that the caller changed, unless the block raises."""


def close_connection(local: threading.local) -> None:
    """Close this thread's connection, if it has one, and forget all about it."""
    connection = getattr(local, "connection", None)
    if connection is not None:
        connection.close()
    vars(local).clear()


def machine_clock() -> int:
    return time.time_ns() // 1000
