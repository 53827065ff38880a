"""Counters in a separate SQLite file: in the main file, a hit would wait for the transactions of others.

All requests of a call are charged in one transaction. The clock is the machine's, which all processes that share the file have
in common.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from config.base.checkpoints import RARE_CHECKPOINTS, checkpoint_soon
from config.base.files import create_private
from ratelimits.budgets import Budget, Charge, Counter, Reading, charge_in_turn, counter_keys, reading_of
from ratelimits.stores import TIMEOUT, DurableStore, Held, StoreUnavailable, close_connection, machine_clock

T = TypeVar("T")

# How many checks must find the file unchanged before a hit gives up; and the most seconds a hit may wait.
MIN_CHECKS = 30
MAX_WAIT = 2.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (
    key TEXT NOT NULL PRIMARY KEY, at INTEGER NOT NULL, span INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID
"""
WRITE = "INSERT OR REPLACE INTO counters (key, at, span, used) VALUES (?, ?, ?, ?)"


class SQLiteStore(DurableStore):
    name = "sqlite"

    def __init__(self, path: Path, *, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout
        self._local = threading.local()
        self._swept_up_to = ""

    def hit_many(self, charges: Sequence[Charge], *, clock: int | None = None) -> list[Reading]:
        keys = dict.fromkeys(budget.counter_key for charge in charges for budget in charge.budgets)
        with self.held(keys, clock=clock) as (counters, now):
            return charge_in_turn(charges, counters, now)

    @contextmanager
    def held(self, keys: Collection[str], *, clock: int | None = None) -> Iterator[Held]:
        cursor = self._retry(begin)
        try:
            counters = read(cursor, list(keys))
            before = dict(counters)
            yield Held(counters, machine_clock() if clock is None else clock)
            cursor.executemany(
                WRITE, [(key, *counter) for key, counter in counters.items() if counter != before.get(key)]
            )
            cursor.execute("COMMIT")
            checkpoint_soon(str(self.path))
        except sqlite3.Error as error:
            raise self._failed(error) from error
        except BaseException:
            self.close()  # rolls back
            raise

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        now = machine_clock() if clock is None else clock
        keys = [budget.counter_key for budget in budgets]
        counters = self._retry(lambda cursor: read(cursor, keys))
        return reading_of(budgets, tuple(counters.get(key) for key in keys), cost, now)

    def reset(self, keys: Collection[str]) -> None:
        known = counter_keys(keys)
        self._run(f"DELETE FROM counters WHERE key IN ({marks(known)})", known)

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        now = machine_clock() if clock is None else clock
        page = self._run("SELECT key, at FROM counters WHERE key > ? ORDER BY key LIMIT ?", [self._swept_up_to, batch])
        self._swept_up_to = page[-1][0] if len(page) == batch else ""
        expired = [key for key, at in page if at <= now]
        if expired:
            # Checks `at` again: a counter may have been charged in between.
            self._run(f"DELETE FROM counters WHERE key IN ({marks(expired)}) AND at <= ?", [*expired, now])
        return len(expired)

    def count(self) -> int:
        return int(self._run("SELECT count(*) FROM counters")[0][0])

    def clear(self) -> None:
        self._run("DELETE FROM counters")

    def close(self) -> None:
        close_connection(self._local)

    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        rows: list[Any] = self._retry(lambda cursor: cursor.execute(sql, values).fetchall())
        return rows

    def _retry(self, work: Callable[[sqlite3.Cursor], T]) -> T:
        """Call `work` with this thread's cursor until the file isn't locked."""
        try:
            cursor = self._cursor()
            return retry_while_locked(cursor, lambda: work(cursor), self._timeout)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreUnavailable:
        # A file that was opened while it was read-only stays read-only for this connection.
        self.close()
        return StoreUnavailable(f"{self.path.name}: {error}")

    def _cursor(self) -> sqlite3.Cursor:
        # One cursor per thread: creating one takes a tenth of a hit. A forked worker must not use its parent's connection.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = connect(self.path, self._timeout)
            self._local.cursor = self._local.connection.cursor()
            self._local.pid = os.getpid()
        cursor: sqlite3.Cursor = self._local.cursor
        return cursor


# Small pages make small writes.
SETUP = (
    "PRAGMA page_size = 1024",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    RARE_CHECKPOINTS,
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


def retry_while_locked(cursor: sqlite3.Cursor, work: Callable[[], T], timeout: float) -> T:
    """Call `work` until the file isn't locked, or nothing has changed in it for `timeout` seconds.

    As long as hits of others succeed, ours will too. SQLite's own busy handler sleeps for up to 25 ms at a time, though a
    hit holds the lock for some 20 µs.
    """
    wait: LockWait | None = None
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            wait = wait or LockWait(cursor.connection, timeout)
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

        Time alone isn't enough: a process that got little processor time hasn't checked often enough.
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


def begin(cursor: sqlite3.Cursor) -> sqlite3.Cursor:
    return cursor.execute("BEGIN IMMEDIATE")


def read(cursor: sqlite3.Cursor, keys: Sequence[str]) -> dict[str, Counter]:
    rows = cursor.execute(f"SELECT key, at, span, used FROM counters WHERE key IN ({marks(keys)})", keys)
    return {key: Counter(at, span, used) for key, at, span, used in rows.fetchall()}


def marks(values: Collection[Any]) -> str:
    return ", ".join("?" * len(values))
