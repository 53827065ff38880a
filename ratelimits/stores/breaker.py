"""What stands between requests and a store that is down: nobody waits twice for the same outage."""

from __future__ import annotations

import logging
import threading

from ratelimits.register import OutageLog
from ratelimits.stores import Store, StoreUnavailable

logger = logging.getLogger(__name__)

# Seconds between two looks at a store that was away.
PROBE_INTERVAL = 0.5


class Breaker:
    """Closed while the store works. The first failure opens it; a thread of its own then asks the store until it answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._outage: OutageLog | None = None

    @property
    def is_open(self) -> bool:
        return self._outage is not None

    def trip(self, error: StoreUnavailable, *, allowed: bool) -> None:
        """Count one request that was decided without the store, and open if this is the first."""
        with self._lock:
            outage, is_new = self._outage, self._outage is None
            if outage is None:
                self._outage = outage = OutageLog(self._store.name, str(error))
            outage.let_through += allowed
            outage.refused += not allowed
        if is_new:
            logger.error("The rate limit store (%s) is away: %s", self._store.name, error)
            outage.start()
            threading.Thread(target=self._probe, args=(outage,), name="rate-limit-store-probe", daemon=True).start()

    def stop(self) -> None:
        """End the probing thread, for a limiter that is thrown away."""
        self._stopped.set()

    def _probe(self, outage: OutageLog) -> None:
        # The first look comes at once: a single late answer is no outage.
        while not self._stopped.is_set() and not self._answers():
            self._stopped.wait(PROBE_INTERVAL)
        self._store.close()
        with self._lock:
            self._outage = None
        outage.end()
        logger.warning(
            "The rate limit store (%s) is back. Meanwhile %d requests were let through and %d refused.",
            self._store.name,
            outage.let_through,
            outage.refused,
        )

    def _answers(self) -> bool:
        try:
            self._store.ping()
        except StoreUnavailable:
            return False
        return True
