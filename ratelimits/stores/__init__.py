"""Where counters live. `Store` is all that a store has to be; tests/ratelimits/stores/test_stores.py is what it has to do."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Protocol

from ratelimits.budgets import Budget, Reading

# Seconds that a hit waits for an answer, unless RATE_LIMIT_STORE_TIMEOUT says otherwise.
TIMEOUT = 0.04
# One of each kind of counter, with more room than probes can use.
PROBE = "probe"
PROBE_BUDGETS = (Budget(PROBE, 1_000_000, 60), Budget(PROBE, 1_000_000, 24 * 3600, "fixed"))


class StoreUnavailable(Exception):
    """The store is down, or did not answer in time. Nothing is known of the counters."""


class Store(Protocol):
    """Exact across threads and processes. The store's own clock decides; `clock` (microseconds) stands in for it in tests.

    `hit`, `peek`, `reset` and `ping` wait `timeout` seconds for an answer, then raise StoreUnavailable.
    """

    name: str

    def hit(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        """Charge all budgets, or none if one that is enforced has no room; an observed one without room is left out."""

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        """What `hit` would answer, charging nothing."""

    def reset(self, keys: Collection[str]) -> None:
        """Forget what was counted under these budget keys."""

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        """Look at the next `batch` counters and remove the dead; returns how many. Call again until a round is done."""

    def count(self) -> int:
        """How many counters are held, dead ones included."""

    def clear(self) -> None:
        """Forget everything."""

    def ping(self) -> None:
        """Return if the store can do what a request asks of it: count, which is a write."""

    def close(self) -> None:
        """Let go of this thread's connection."""


def probe(store: Store) -> None:
    """Count as a request does, and forget it. Anything less, such as PING, works on a store that refuses every hit."""
    store.hit(PROBE_BUDGETS)
    store.reset([PROBE])


def machine_clock() -> int:
    return time.time_ns() // 1000
