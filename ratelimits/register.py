"""What staff see of the limiter at work: who is refused, and when the store was away.

Both go to the database seldom: a refusal must stay cheap, or refusing would be a way to slow us down. But what is held back goes
there within a second or so, whether or not anything else happens, and when the process ends.
"""

from __future__ import annotations

import atexit
import datetime as dt
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from config.base.database import refusal
from ratelimits.budgets import Budget, Outcome
from ratelimits.models import Outage, Refusal

logger = logging.getLogger(__name__)

# Seconds between two writes for one budget, in one worker; how many budgets requests may write in one such time; and for how
# many counts are held, lest a flood of addresses fills the memory while the database is away.
WRITE_INTERVAL = 1.0
MOST_WRITES = 20
MOST_HELD = 10_000
KEPT_FOR = dt.timedelta(days=7)

# A rule that was removed meanwhile leaves the row without one.
NOTE = """
INSERT INTO rate_limit_refusals
    (key, owner, rate_limit_id, name, "limit", period, "window", observed, count, first_at, last_at)
VALUES (%s, %s, (SELECT id FROM rate_limits WHERE id = %s), %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO UPDATE SET
    name = excluded.name, "limit" = excluded."limit", period = excluded.period, "window" = excluded."window",
    observed = excluded.observed, last_at = excluded.last_at, count = rate_limit_refusals.count + excluded.count
"""
# A row that is gone was reset in the meantime, and what came before no longer counts.
ADD = "UPDATE rate_limit_refusals SET count = count + %s, last_at = %s WHERE key = %s"


@dataclass
class Pending:
    budget: Budget
    count: int = 0
    has_row: bool = False
    since: dt.datetime = field(default_factory=timezone.now)
    written_at: float = float("-inf")


Due = tuple[Pending, int]


class Register:
    """Refusals of this process that are not in the database yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}
        self._window_began = 0.0
        self._writes = 0
        # Held while something is written, so that the end of the process waits for it.
        self._writing = threading.Lock()
        self._something_waits = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, outcome: Outcome) -> None:
        """Count the budgets that had no room. Writes some of what is due; a thread writes the rest soon."""
        exceeded = [state.budget for state in outcome.states if state.exceeded]
        if exceeded:
            with self._lock:
                due = list(self._due(exceeded, time.monotonic()))
            self._write(due)
            if len(due) < len(exceeded):
                self._write_soon()

    def flush(self) -> None:
        """Write all that waits."""
        with self._writing:
            with self._lock:
                due = [self._taken(pending, time.monotonic()) for pending in self._pending.values() if pending.count]
            self._write(due)

    def forget(self) -> None:
        with self._lock:
            self._pending.clear()
            self._writes = 0

    def _due(self, budgets: Iterable[Budget], now: float) -> Iterable[Due]:
        if now - self._window_began > WRITE_INTERVAL:
            self._window_began, self._writes = now, 0
            self._drop_written(now)
        for budget in budgets:
            if budget.key not in self._pending and len(self._pending) >= MOST_HELD:
                continue
            pending = self._pending.setdefault(budget.key, Pending(budget))
            pending.budget = budget
            pending.count += 1
            if now - pending.written_at > WRITE_INTERVAL and self._writes < MOST_WRITES:
                self._writes += 1
                pending.has_row = False
                yield self._taken(pending, now)

    def _taken(self, pending: Pending, now: float) -> Due:
        count, pending.count, pending.written_at = pending.count, 0, now
        return pending, count

    def _drop_written(self, now: float) -> None:
        stale = [
            key
            for key, pending in self._pending.items()
            if not pending.count and now - pending.written_at > WRITE_INTERVAL
        ]
        for key in stale:
            del self._pending[key]

    def _write(self, due: list[Due]) -> None:
        for pending, count in write(due):
            with self._lock:
                self._pending.setdefault(pending.budget.key, pending).count += count

    def _write_soon(self) -> None:
        database = connections[DEFAULT_DB_ALIAS]
        if database.in_atomic_block:
            # On SQLite the thread would wait for this very transaction.
            database.on_commit(self._wake_thread)
        else:
            self._wake_thread()

    def _wake_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rate-limit-register", daemon=True)
                self._thread.start()
                atexit.register(self.flush)
        self._something_waits.set()

    def _run(self) -> None:
        while True:
            self._something_waits.wait()
            time.sleep(WRITE_INTERVAL)
            self._something_waits.clear()
            try:
                self.flush()
                connections[DEFAULT_DB_ALIAS].close()
            except Exception:
                logger.exception("Refusals could not be noted.")
            if any(pending.count for pending in list(self._pending.values())):
                self._something_waits.set()


def write(due: list[Due]) -> list[Due]:
    """Count up the rows of these budgets; returns what the database refused for now. A failure is logged only: the answer to
    the caller does not depend on it.
    """
    if not due:
        return []
    # In one order everywhere: workers that write the same rows never wait for each other in a circle.
    due = sorted(due, key=lambda each: each[0].budget.key)
    now = connections[DEFAULT_DB_ALIAS].ops.adapt_datetimefield_value(timezone.now())
    try:
        with transaction.atomic(), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            for pending, count in due:
                if pending.has_row:
                    cursor.execute(ADD, [count, now, pending.budget.key])
                else:
                    cursor.execute(NOTE, row_of(pending, count, now))
    except (DatabaseError, InterfaceError) as error:
        if refusal(error) is None and len(due) > 1:
            # One that cannot be stored must not take the others with it.
            return [left for each in due for left in write([each])]
        logger.error("A refusal could not be noted: %s", error)  # noqa: TRY400
        return [] if refusal(error) is None else due
    for pending, _ in due:
        pending.has_row = True
    return []


def row_of(pending: Pending, count: int, now: Any) -> list[Any]:
    budget, since = pending.budget, connections[DEFAULT_DB_ALIAS].ops.adapt_datetimefield_value(pending.since)
    what = [budget.key, owner_of(budget), budget.rule_id, budget.name, budget.limit, budget.period, budget.window]
    return [*what, budget.observe, count, since, now]


def owner_of(budget: Budget) -> str:
    return budget.key.partition("/")[0]


def prune(batch: int = 1000) -> int:
    """Remove what is older than a week; returns how many refusals."""
    before = timezone.now() - KEPT_FOR
    Outage.objects.filter(ended_at__lt=before).delete()
    old = Refusal.objects.filter(last_at__lt=before).values_list("pk", flat=True)[:batch]
    return Refusal.objects.filter(pk__in=list(old)).delete()[0]


class OutageLog:
    """The outage that this process sees, kept up to date in the database by a thread of its own: that may be slow, or away
    itself, and nobody waits for it.
    """

    def __init__(self, store: str, reason: str) -> None:
        self._store = store
        self._reason = reason
        self._pk: int | None = None
        self._began_at = timezone.now()
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._ended_at: dt.datetime | None = None
        self.let_through = 0
        self.refused = 0

    def start(self) -> None:
        atexit.register(self._end_with_the_process)
        threading.Thread(target=self._run, name="rate-limit-outage-log", daemon=True).start()

    def end(self) -> None:
        self._ended_at = timezone.now()
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            self._try_to_write()
            self._over.wait(WRITE_INTERVAL)
        self._try_to_write()
        atexit.unregister(self._end_with_the_process)
        connections[DEFAULT_DB_ALIAS].close()

    def _end_with_the_process(self) -> None:
        self.end()
        self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            with self._writing:
                self._write()
        except Exception as error:  # noqa: BLE001  (whatever it is, it must not end the thread)
            logger.error("The outage of the rate limit store could not be noted: %s", error)  # noqa: TRY400

    def _write(self) -> None:
        figures = {"let_through": self.let_through, "refused": self.refused, "ended_at": self._ended_at}
        if self._pk is None:
            self._pk = Outage.objects.create(
                store=self._store, node=node_name(), error=self._reason[:500], began_at=self._began_at, **figures
            ).pk
        else:
            Outage.objects.filter(pk=self._pk).update(**figures)


def node_name() -> str:
    return f"{socket.gethostname()[:80]}, process {os.getpid()}"


register = Register()
