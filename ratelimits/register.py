"""What staff see of the limiter at work: who is refused, and when the store was away.

Both go to the database seldom: a refusal must stay cheap, or refusing would be a way to slow us down.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.models import F
from django.utils import timezone

from ratelimits.budgets import Budget, Outcome
from ratelimits.models import Outage, Refusal

logger = logging.getLogger(__name__)

# Seconds between two writes for one budget, in one worker; and how many budgets may be written in one such time.
WRITE_INTERVAL = 5.0
MOST_WRITES = 100
KEPT_FOR = dt.timedelta(days=7)


@dataclass
class Pending:
    budget: Budget
    count: int = 0
    since: dt.datetime = field(default_factory=timezone.now)
    written_at: float = float("-inf")


class Register:
    """Refusals of this process that are not in the database yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}
        self._window_began = 0.0
        self._writes = 0

    def note(self, outcome: Outcome) -> None:
        """Count the budgets that had no room. Writes some of what is due."""
        exceeded = [state.budget for state in outcome.states if state.exceeded]
        if exceeded:
            with self._lock:
                due = list(self._due(exceeded, time.monotonic()))
            for pending, count in due:
                write(pending, count)

    def forget(self) -> None:
        with self._lock:
            self._pending.clear()
            self._writes = 0

    def _due(self, budgets: Iterable[Budget], now: float) -> Iterable[tuple[Pending, int]]:
        if now - self._window_began > WRITE_INTERVAL:
            self._window_began, self._writes = now, 0
            self._drop_written(now)
        for budget in budgets:
            pending = self._pending.setdefault(budget.key, Pending(budget))
            pending.budget = budget
            pending.count += 1
            if now - pending.written_at > WRITE_INTERVAL and self._writes < MOST_WRITES:
                self._writes += 1
                count, pending.count, pending.written_at = pending.count, 0, now
                yield pending, count

    def _drop_written(self, now: float) -> None:
        stale = [
            key
            for key, pending in self._pending.items()
            if not pending.count and now - pending.written_at > WRITE_INTERVAL
        ]
        for key in stale:
            del self._pending[key]


def write(pending: Pending, count: int) -> None:
    """Count up the budget's row. A failure is logged only: the answer to the caller does not depend on it."""
    budget, now = pending.budget, timezone.now()
    known = {
        "name": budget.name,
        "limit": budget.limit,
        "period": budget.period,
        "window": budget.window,
        "observed": budget.observe,
        "last_at": now,
    }
    try:
        with transaction.atomic():
            rows = Refusal.objects.filter(key=budget.key)
            if not rows.update(count=F("count") + count, **known):
                row = Refusal(key=budget.key, owner=owner_of(budget), rate_limit_id=budget.rule_id, count=count)
                for name, value in {**known, "first_at": pending.since}.items():
                    setattr(row, name, value)
                Refusal.objects.bulk_create([row], ignore_conflicts=True)
    except DatabaseError:
        logger.exception("A refusal could not be noted.")


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
        self._ended_at: dt.datetime | None = None
        self.let_through = 0
        self.refused = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name="rate-limit-outage-log", daemon=True).start()

    def end(self) -> None:
        self._ended_at = timezone.now()
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            self._try_to_write()
            self._over.wait(WRITE_INTERVAL)
        self._try_to_write()
        connections[DEFAULT_DB_ALIAS].close()

    def _try_to_write(self) -> None:
        try:
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
