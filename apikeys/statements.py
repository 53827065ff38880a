"""Run the few statements that every request to the API waits for, past Django's cursor and as prepared statements.

Django's cursor costs more than these statements themselves: it checks the connection's health by a round trip of its own
once a request, formats parameters on the client, and lets PostgreSQL plan the statement anew each time.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

# Seconds. The longest wait for a lock is that of settings.sqlite.
LONGEST_WAIT = 20
SHORTEST_PAUSE, LONGEST_PAUSE = 0.00005, 0.005
NAMED_PARAMETER = re.compile(r"(?<!:):(\w+)")


def run(sql: str, parameters: Mapping[str, Any], *, reads: bool = False) -> list[tuple[Any, ...]]:
    """Execute `sql`, whose parameters stand as `:name`, on the default database, and return its rows.

    Outside a transaction the statement commits on its own. Values must be in the database's form (see `moment`,
    `identifier`). reads: it writes nothing. Raises django.db.DatabaseError and its kin.
    """
    # Looked up once: each use of django.db.connection goes through two layers of thread-local look-ups.
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    raw: Any = database.connection
    with database.wrap_database_errors:
        if database.vendor == "postgresql":
            return run_on_postgresql(raw, sql, parameters)
        if reads or database.in_atomic_block:
            return run_on_sqlite(raw, sql, parameters)
        return run_patiently_on_sqlite(raw, sql, parameters)


def run_on_sqlite(raw: Any, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    # All rows are fetched: a statement left open would hold on to an old snapshot, and the next write would fail.
    rows: list[tuple[Any, ...]] = raw.execute(sql, parameters).fetchall()
    return rows


def run_patiently_on_sqlite(raw: Any, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """As SQLite's own waiting for a lock, but sleeping for as long as an insert takes, not for 1 to 100 ms at a time."""
    raw.execute("PRAGMA busy_timeout=0")
    deadline, pause = time.monotonic() + LONGEST_WAIT, SHORTEST_PAUSE
    try:
        while True:
            try:
                return run_on_sqlite(raw, sql, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
    finally:
        raw.execute(f"PRAGMA busy_timeout={LONGEST_WAIT * 1000}")


def run_on_postgresql(raw: Any, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    if raw.prepare_threshold is None:
        # Django switches prepared statements off; its own client-side cursors would not use them in any case.
        raw.prepare_threshold = 0
    cursor = psycopg.Cursor(raw).execute(postgresql_text(sql), parameters)
    return cursor.fetchall() if cursor.description else []


@lru_cache(maxsize=64)
def postgresql_text(sql: str) -> str:
    return NAMED_PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%"))


@lru_cache(maxsize=1)
def vendor() -> str:
    """postgresql or sqlite: which of the two dialects the default database speaks."""
    return connections[DEFAULT_DB_ALIAS].vendor


def moment(value: datetime) -> datetime | str:
    """A UTC time as the database compares it: SQLite holds naive text."""
    return value if vendor() == "postgresql" else str(value.replace(tzinfo=None))


def identifier(value: UUID) -> UUID | str:
    return value if vendor() == "postgresql" else value.hex
