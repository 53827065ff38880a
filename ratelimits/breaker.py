"""What stands between requests and a store that is down: nobody waits twice for the same outage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ratelimits.stores import Store, StoreUnavailable

logger = logging.getLogger(__name__)

# Between two looks at a store that was away.
PROBE_INTERVAL = 0.5


class Breaker:
    """Closed while the store works. The first failure opens it; a thread of its own then asks the store until it answers.

    on_change: called with True when it opens, with False when it closes again.
    """

    def __init__(self, store: Store, on_change: Callable[[bool], None] = lambda is_open: None) -> None:
        self._store = store
        self._on_change = on_change
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.is_open = False

    def trip(self, error: StoreUnavailable) -> None:
        with self._lock:
            if self.is_open:
                return
            self.is_open = True
        logger.error("The rate limit store (%s) is away: %s", self._store.name, error)
        threading.Thread(target=self._probe, name="rate-limit-store-probe", daemon=True).start()
        self._on_change(True)

    def stop(self) -> None:
        """End the probing thread, for a limiter that is thrown away."""
        self._stopped.set()

    def _probe(self) -> None:
        while not self._stopped.wait(PROBE_INTERVAL):
            try:
                self._store.ping()
            except StoreUnavailable:
                continue
            self.is_open = False
            logger.warning("The rate limit store (%s) is back.", self._store.name)
            self._on_change(False)
            break
        self._store.close()
