"""A circuit breaker in front of the store, so that only one request waits for a store that is down."""

from __future__ import annotations

import logging
import threading

from config.base.metrics import BREAKER_OPEN, LIMITER_ERRORS
from ratelimits.recorder import OutageRecorder
from ratelimits.stores import Store, StoreUnavailable

logger = logging.getLogger(__name__)

# Seconds.
PROBE_INTERVAL = 0.5
OUTCOMES = {True: "allowed", False: "denied"}


class Breaker:
    """Opens at the first failure. A thread then probes the store and closes the breaker when it answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # From the start, so that the first error is seen as an increase.
        self._errors = {allowed: LIMITER_ERRORS.labels(store.name, OUTCOMES[allowed]) for allowed in OUTCOMES}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._outage: OutageRecorder | None = None

    @property
    def is_open(self) -> bool:
        return self._outage is not None

    def trip(self, error: StoreUnavailable, *, allowed: bool) -> None:
        with self._lock:
            outage, is_new = self._outage, self._outage is None
            if outage is None:
                self._outage = outage = OutageRecorder(self._store.name, str(error))
            self._errors[allowed].inc()
            outage.allowed += allowed
            outage.denied += not allowed
        if is_new:
            BREAKER_OPEN.inc()
            logger.error("The rate limit store (%s) is unavailable: %s", self._store.name, error)
            outage.start()
            threading.Thread(target=self._probe, args=(outage,), name="rate-limit-store-probe", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _probe(self, outage: OutageRecorder) -> None:
        # The first probe is immediate: a single late answer isn't an outage.
        while not self._stopped.is_set() and not self._answers():
            self._stopped.wait(PROBE_INTERVAL)
        self._store.close()
        with self._lock:
            self._outage = None
        BREAKER_OPEN.dec()
        outage.end()
        logger.warning(
            "The rate limit store (%s) is available again. Without it, %d requests were allowed and %d denied.",
            self._store.name,
            outage.allowed,
            outage.denied,
        )

    def _answers(self) -> bool:
        try:
            self._store.ping()
        except StoreUnavailable:
            return False
        return True
