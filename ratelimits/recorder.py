"""Records for staff: who was rate limited, and when the store was unavailable.

Denials must stay cheap, so they are collected and written about once a second, and when the process ends.
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

from config.base.database import unavailable_error
from ratelimits.budgets import Budget, Outcome
from ratelimits.models import Denial, Outage

logger = logging.getLogger(__name__)

# Seconds between two writes for one budget in one worker; how many budgets requests may write in that time; and how many
# are kept in memory while the database is unavailable, however many addresses send requests.
WRITE_INTERVAL = 1.0
MAX_WRITES = 20
MAX_HELD = 10_000
KEPT_FOR = dt.timedelta(days=7)

# The rule may have been removed in the meantime.
INSERT = """
INSERT INTO rate_limit_denials
    (key, owner, rate_limit_id, name, "limit", period, "window", unit, billing_day, observed, count, first_at, last_at)
VALUES (%s, %s, (SELECT id FROM rate_limits WHERE id = %s), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO UPDATE SET
    name = excluded.name, "limit" = excluded."limit", period = excluded.period, "window" = excluded."window",
    unit = excluded.unit, billing_day = excluded.billing_day,
    observed = excluded.observed, last_at = excluded.last_at, count = rate_limit_denials.count + excluded.count
"""
# If the row was removed by a reset, earlier denials no longer count.
ADD = "UPDATE rate_limit_denials SET count = count + %s, last_at = %s WHERE key = %s"


@dataclass
class Pending:
    budget: Budget
    count: int = 0
    has_row: bool = False
    since: dt.datetime = field(default_factory=timezone.now)
    written_at: float = float("-inf")


Due = tuple[Pending, int]


class Recorder:
    """Denials of this process that aren't in the database yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}
        self._window_began = 0.0
        self._writes = 0
        # Makes the end of the process wait for a write in progress.
        self._writing = threading.Lock()
        self._pending_event = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, outcome: Outcome) -> None:
        """Count the exceeded budgets. Writes some at once; a thread writes the rest soon."""
        exceeded = [state.budget for state in outcome.states if state.exceeded]
        if exceeded:
            with self._lock:
                due = list(self._due(exceeded, time.monotonic()))
            self._write(due)
            if len(due) < len(exceeded):
                self._write_soon()

    def flush(self) -> None:
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
            if budget.key not in self._pending and len(self._pending) >= MAX_HELD:
                continue
            pending = self._pending.setdefault(budget.key, Pending(budget))
            pending.budget = budget
            pending.count += 1
            if now - pending.written_at > WRITE_INTERVAL and self._writes < MAX_WRITES:
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
            # On SQLite, the thread would wait for this transaction.
            database.on_commit(self._wake_thread)
        else:
            self._wake_thread()

    def _wake_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rate-limit-recorder", daemon=True)
                self._thread.start()
                atexit.register(self.flush)
        self._pending_event.set()

    def _run(self) -> None:
        while True:
            self._pending_event.wait()
            time.sleep(WRITE_INTERVAL)
            self._pending_event.clear()
            try:
                self.flush()
                connections[DEFAULT_DB_ALIAS].close()
            except Exception:
                logger.exception("Denials could not be recorded.")
            if any(pending.count for pending in list(self._pending.values())):
                self._pending_event.set()


def write(due: list[Due]) -> list[Due]:
    """Returns what the database can't take for now. Failures are only logged: the response doesn't depend on them."""
    if not due:
        return []
    # Always in the same order, so that workers that write the same rows can't deadlock.
    due = sorted(due, key=lambda each: each[0].budget.key)
    try:
        with transaction.atomic(), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            write_rows(cursor, due)
    except (DatabaseError, InterfaceError) as error:
        if unavailable_error(error) is None and len(due) > 1:
            # One that can't be stored must not prevent the others.
            return [unwritten for each in due for unwritten in write([each])]
        logger.error("A denial could not be recorded: %s", error)  # noqa: TRY400
        return [] if unavailable_error(error) is None else due
    for pending, _ in due:
        pending.has_row = True
    return []


def write_rows(cursor: Any, due: Iterable[Due]) -> None:
    now = connections[DEFAULT_DB_ALIAS].ops.adapt_datetimefield_value(timezone.now())
    for pending, count in due:
        if pending.has_row:
            cursor.execute(ADD, [count, now, pending.budget.key])
        else:
            cursor.execute(INSERT, row_of(pending, count, now))


def row_of(pending: Pending, count: int, now: Any) -> list[Any]:
    budget, since = pending.budget, connections[DEFAULT_DB_ALIAS].ops.adapt_datetimefield_value(pending.since)
    what = [budget.key, owner_of(budget), budget.rule_id, budget.name, budget.limit, budget.period, budget.window]
    return [*what, budget.unit, budget.billing_day, budget.observe, count, since, now]


def owner_of(budget: Budget) -> str:
    return budget.key.partition("/")[0]


def prune(batch: int = 1000) -> int:
    """Remove records older than a week. Returns the number of denials removed."""
    before = timezone.now() - KEPT_FOR
    Outage.objects.filter(ended_at__lt=before).delete()
    old = Denial.objects.filter(last_at__lt=before).values_list("pk", flat=True)[:batch]
    return Denial.objects.filter(pk__in=list(old)).delete()[0]


class OutageRecorder:
    """Keeps the record of an outage up to date from a thread, because the database may be slow or unavailable itself."""

    def __init__(self, store: str, reason: str) -> None:
        self._store = store
        self._reason = reason
        self._pk: int | None = None
        self._began_at = timezone.now()
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._ended_at: dt.datetime | None = None
        self.allowed = 0
        self.denied = 0

    def start(self) -> None:
        atexit.register(self._end_with_the_process)
        threading.Thread(target=self._run, name="rate-limit-outage-recorder", daemon=True).start()

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
        except Exception as error:  # noqa: BLE001  (nothing may end the thread)
            logger.error("The outage of the rate limit store could not be recorded: %s", error)  # noqa: TRY400

    def _write(self) -> None:
        figures = {"allowed": self.allowed, "denied": self.denied, "ended_at": self._ended_at}
        if self._pk is None:
            self._pk = Outage.objects.create(
                store=self._store, node=node_name(), error=self._reason[:500], began_at=self._began_at, **figures
            ).pk
        else:
            Outage.objects.filter(pk=self._pk).update(**figures)


def node_name() -> str:
    return f"{socket.gethostname()[:80]}, process {os.getpid()}"


recorder = Recorder()
