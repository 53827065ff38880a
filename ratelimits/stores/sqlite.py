"""Counters in a separate SQLite file: in the main file, a hit would wait for the transactions of others.

An allowed hit is one statement in autocommit mode, so the write lock is never held while Python waits for the GIL. The
clock is the machine's, which all processes that share the file have in common.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from config.base.files import create_private
from ratelimits.budgets import CLOCK_SLACK, Budget, Counter, Reading, counter_keys, reading_of
from ratelimits.stores import TIMEOUT, StoreUnavailable, machine_clock, probe

# How many checks must find the file unchanged before a hit gives up; and the most seconds a hit may wait.
MIN_CHECKS = 30
MAX_WAIT = 2.0
# `excess` is by how much a request exceeds the limit. It may never be positive, so SQLite rolls back the whole statement if
# the cost exceeds one of several budgets.
SCHEMA = """
CREATE TABLE IF NOT EXISTS counter (
    key TEXT NOT NULL PRIMARY KEY, at INTEGER NOT NULL, span INTEGER NOT NULL, used INTEGER NOT NULL,
    excess INTEGER NOT NULL CHECK (excess <= 0)
) WITHOUT ROWID
"""
# The arithmetic of ratelimits/budgets.py: for a new counter in VALUES, for an existing one after DO UPDATE. ?1 is the clock.
# `excluded.used` is 0 for a rolling window, and then `excluded.at - ?1` is what the request adds.
IS_STALE = f"(at - ?1 > span + {CLOCK_SLACK})"
BACKLOG = f"""CASE WHEN excluded.used <> 0 OR at <= ?1 OR {IS_STALE} THEN 0 WHEN span = excluded.span THEN at - ?1
    ELSE min(excluded.span, CAST((at - ?1) * 1.0 * excluded.span / span AS INTEGER) + 1) END"""
SAME_WINDOW = f"(excluded.used <> 0 AND at > excluded.at - excluded.span AND NOT {IS_STALE})"
HIT = f"""
INSERT INTO counter (key, at, span, used, excess) VALUES %s
ON CONFLICT (key) DO UPDATE SET
    at = CASE WHEN {SAME_WINDOW} AND span = excluded.span THEN at ELSE excluded.at + {BACKLOG} END,
    span = excluded.span,
    used = excluded.used + iif({SAME_WINDOW}, used, 0),
    excess = excluded.excess + iif({SAME_WINDOW}, used, {BACKLOG})
RETURNING key, at, span, used
"""
COLUMNS = 5


@lru_cache(maxsize=32)
def hit_statement(count: int) -> str:
    # Numbered from ?2: ?1 is the clock.
    rows = (range(2 + row * COLUMNS, 2 + (row + 1) * COLUMNS) for row in range(count))
    return HIT % ", ".join(f"({', '.join(f'?{number}' for number in row)})" for row in rows)


def new_row(budget: Budget, cost: int, now: int) -> tuple[Any, ...]:
    if budget.window == "rolling":
        span = budget.limit * budget.step
        share = budget.share(cost)
        return budget.key, now + share, span, 0, share - span
    begins, ends = budget.bounds(now)
    share = budget.share(cost)
    return budget.counter_key, ends, ends - begins, share, share - budget.limit


class LimitExceeded(Exception):
    """The statement was rolled back because of a positive excess."""


class SQLiteStore:
    name = "sqlite"

    def __init__(self, path: Path, *, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout
        self._local = threading.local()
        self._swept_up_to = ""

    def hit(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        now = machine_clock() if clock is None else clock
        enforced = [budget for budget in budgets if not budget.observe]
        written = self._charge(enforced, cost, now) if enforced else []
        if written is None:
            return self.peek(budgets, cost, clock=now)
        if len(enforced) == len(budgets):
            return Reading(True, now, (True,) * len(budgets), tuple(written))
        return self._with_observed(budgets, iter(written), cost, now)

    def _with_observed(self, budgets: Sequence[Budget], written: Iterator[Counter], cost: int, now: int) -> Reading:
        fits, counters = [], []
        for budget in budgets:
            if budget.observe:
                charged = self._charge([budget], cost, now)
                fits.append(charged is not None)
                counters.append(charged[0] if charged else self.peek([budget], cost, clock=now).counters[0])
            else:
                fits.append(True)
                counters.append(next(written))
        return Reading(True, now, tuple(fits), tuple(counters))

    def _charge(self, budgets: Sequence[Budget], cost: int, now: int) -> list[Counter] | None:
        """Charge all of these; None, with nothing charged, if the cost exceeds one."""
        values: list[Any] = [now]
        for budget in budgets:
            values += new_row(budget, cost, now)
        try:
            rows = self._run(hit_statement(len(budgets)), values)
        except LimitExceeded:
            return None
        if len(rows) == 1:
            return [Counter(*rows[0][1:])]
        written = {row[0]: Counter(*row[1:]) for row in rows}
        return [written[budget.counter_key] for budget in budgets]

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        now = machine_clock() if clock is None else clock
        keys = [budget.counter_key for budget in budgets]
        found = self._run(f"SELECT key, at, span, used FROM counter WHERE key IN ({marks(keys)})", keys)
        counters = {key: Counter(at, span, used) for key, at, span, used in found}
        return reading_of(budgets, tuple(counters.get(key) for key in keys), cost, now)

    def reset(self, keys: Collection[str]) -> None:
        known = counter_keys(keys)
        self._run(f"DELETE FROM counter WHERE key IN ({marks(known)})", known)

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        now = machine_clock() if clock is None else clock
        page = self._run("SELECT key, at FROM counter WHERE key > ? ORDER BY key LIMIT ?", [self._swept_up_to, batch])
        self._swept_up_to = page[-1][0] if len(page) == batch else ""
        expired = [key for key, at in page if at <= now]
        if expired:
            # Checks `at` again: a counter may have been charged in between.
            self._run(f"DELETE FROM counter WHERE key IN ({marks(expired)}) AND at <= ?", [*expired, now])
        return len(expired)

    def count(self) -> int:
        return int(self._run("SELECT count(*) FROM counter")[0][0])

    def clear(self) -> None:
        self._run("DELETE FROM counter")

    def ping(self) -> None:
        probe(self)

    def close(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
        vars(self._local).clear()

    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            cursor = self._cursor()
            try:
                return cursor.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            rows: list[Any] = retry_while_locked(cursor, lambda: cursor.execute(sql, values).fetchall(), self._timeout)
        except sqlite3.IntegrityError as error:
            raise LimitExceeded from error
        except sqlite3.Error as error:
            # A file that was opened while it was read-only stays read-only for this connection.
            self.close()
            raise StoreUnavailable(f"{self.path.name}: {error}") from error
        return rows

    def _cursor(self) -> sqlite3.Cursor:
        # One cursor per thread: creating one takes a tenth of a hit. A forked worker must not use its parent's connection.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = connect(self.path, self._timeout)
            self._local.cursor = self._local.connection.cursor()
            self._local.pid = os.getpid()
        cursor: sqlite3.Cursor = self._local.cursor
        return cursor


# Small pages make small writes; a longer log needs fewer checkpoints, which wait for the disk.
SETUP = (
    "PRAGMA page_size = 1024",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
    SCHEMA,
)


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    create_private(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=64)
    cursor = connection.cursor()
    for statement in SETUP:
        retry_while_locked(cursor, lambda statement=statement: cursor.execute(statement), timeout)  # type: ignore[misc]
    return connection


def is_busy(error: sqlite3.OperationalError) -> bool:
    # PROTOCOL: several processes open a new file at once.
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL}


def retry_while_locked(cursor: sqlite3.Cursor, work: Callable[[], Any], timeout: float) -> Any:
    """Call `work` until the file isn't locked, or nothing has changed in it for `timeout` seconds.

    As long as hits of others succeed, ours will too. SQLite's own busy handler sleeps for up to 25 ms at a time, though a
    hit holds the lock for some 20 µs.
    """
    wait = LockWait(cursor.connection, timeout)
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or not wait.is_worthwhile():
                raise
            time.sleep(wait.pause)


class LockWait:
    def __init__(self, connection: sqlite3.Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._began = time.monotonic()
        self._version: int | None = None
        self._unchanged_since, self._checks = self._began, 0
        self.pause = 0.00005

    def is_worthwhile(self) -> bool:
        """False once many checks found the file unchanged for `timeout`, and after MAX_WAIT in any case.

        Time alone isn't enough: a process that got no processor time has checked too rarely to tell.
        """
        self.pause = min(self.pause * 1.5, 0.001)
        self._checks += 1
        now = time.monotonic()
        if self._checks % 8 == 0:
            self._check_version(now)
        return now < self._began + max(MAX_WAIT, self._timeout) and (
            now < self._unchanged_since + self._timeout or self._checks < MIN_CHECKS
        )

    def _check_version(self, now: float) -> None:
        # This changes with every commit of another connection, and needs no lock that writers hold. It fails while another
        # process creates the file.
        try:
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.OperationalError:
            return
        if self._version is not None and version != self._version:
            self._unchanged_since, self._checks = now, 0
        self._version = version


def marks(values: Collection[Any]) -> str:
    return ", ".join("?" * len(values))
