"""Run the few statements that every request to the API waits for as prepared statements, without Django's cursor.

Django's cursor costs more than these statements themselves: it checks the connection's health by a round trip of its own
once a request, formats parameters on the client, and lets PostgreSQL plan the statement anew each time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from prometheus_client import Summary
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from config.base.checkpoints import RARE_CHECKPOINTS, checkpoint_soon
from config.base.metrics import DATABASE_SECONDS

# Seconds. The longest wait for a lock is that of settings.sqlite.
LONGEST_WAIT = 20
SHORTEST_PAUSE, LONGEST_PAUSE = 0.00005, 0.005
# By the first word of a statement. On PostgreSQL, one call charges the limits and writes the usage rows.
NAMES = {"SELECT": "look_up", "CALL": "settle", "INSERT": "write_usage", "UPDATE": "note_use"}
NAMED_PARAMETER = re.compile(r"(?<!:):(\w+)")


def run(sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute `sql`, with parameters as `:name`, on the default database, and return its rows.

    Outside a transaction the statement commits on its own. Values must be in the database's form (see `database_time`,
    `identifier`). Raises django.db.DatabaseError and its kin.
    """
    began = time.perf_counter()
    try:
        return run_on_default(sql, parameters)
    finally:
        summary_for(sql).observe(time.perf_counter() - began)


def run_on_default(sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    # Looked up once: each use of django.db.connection goes through two thread-local lookups.
    database: Any = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    with database.wrap_database_errors:
        if database.vendor == "sqlite" and not database.in_atomic_block and not database.is_in_memory_db():
            return run_patiently_on_sqlite(database, sql, parameters)
        if database.vendor == "postgresql":
            return run_on_postgresql(database.connection, sql, parameters)
        return run_on_sqlite(database.connection, sql, parameters)


@lru_cache(maxsize=64)
def summary_for(sql: str) -> Summary:
    return DATABASE_SECONDS.labels(NAMES.get(sql.split(maxsplit=1)[0], "other"))


# --- SQLite ----------------------------------------------------------------------------------------------------------


def run_on_sqlite(raw: sqlite3.Connection, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    # All rows are fetched: a statement left open would hold on to an old snapshot, and the next write would fail.
    rows: list[tuple[Any, ...]] = raw.execute(sql, parameters).fetchall()
    return rows


def run_patiently_on_sqlite(database: Any, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Wait for a lock as SQLite does, but sleep for as long as an insert takes instead of 1 to 100 ms at a time."""
    raw, pause, deadline = impatient_connection(database), SHORTEST_PAUSE, 0.0
    while True:
        try:
            changes = raw.total_changes
            rows = run_on_sqlite(raw, sql, parameters)
        except sqlite3.Error as error:
            deadline = deadline or time.monotonic() + LONGEST_WAIT
            if not is_busy(error) or time.monotonic() > deadline:
                _impatient.expires = 0.0  # the connection may be broken, so the next call gets a new one
                raise
        else:
            if raw.total_changes != changes:
                checkpoint_soon(database.settings_dict["NAME"])
            return rows
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def is_busy(error: sqlite3.Error) -> bool:
    # Errors of the module itself, such as a connection that is closed, have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class Impatient(threading.local):
    """A second connection per thread to the SQLite file, which never waits for a lock inside SQLite."""

    connection: sqlite3.Connection | None = None
    process = 0
    expires = 0.0


_impatient = Impatient()


def impatient_connection(database: Any) -> sqlite3.Connection:
    """Created as Django creates its own, and not kept longer, so that a replaced file is noticed."""
    now, process = time.monotonic(), os.getpid()
    # A forked worker must neither use nor close its parent's connection.
    known = _impatient.connection if _impatient.process == process else None
    if known is not None:
        if now < _impatient.expires:
            return known
        known.close()
    made: sqlite3.Connection = database.get_new_connection(database.get_connection_params())
    made.isolation_level = None  # each statement commits on its own
    made.execute("PRAGMA busy_timeout=0")
    made.execute(RARE_CHECKPOINTS)
    age = database.settings_dict["CONN_MAX_AGE"]
    _impatient.connection, _impatient.process = made, process
    _impatient.expires = math.inf if age is None else now + age
    return made


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


class Prepared(NamedTuple):
    """A PostgreSQL statement: its name, its text with $1, $2, …, and the names of its parameters in order."""

    name: bytes
    text: bytes
    parameters: tuple[str, ...]


class Session(NamedTuple):
    """The state of a connection: the statements it has prepared, and psycopg's loaders for its rows."""

    prepared: set[bytes]
    loaders: Any


_sessions: WeakKeyDictionary[psycopg.Connection[Any], Session] = WeakKeyDictionary()


def run_on_postgresql(raw: psycopg.Connection[Any], sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Uses libpq directly instead of psycopg's cursor, so that it waits in C."""
    server, statement = raw.pgconn, prepared_form(sql)
    session = _sessions.get(raw)
    if server.transaction_status == TransactionStatus.IDLE and not raw.autocommit:
        raw.execute("")  # begins the transaction, if one is due
    if session is None:
        session = _sessions[raw] = new_session(raw)
    if statement.name not in session.prepared:
        checked(server.prepare(statement.name, statement.text))
        session.prepared.add(statement.name)
    values = [as_text(parameters[name]) for name in statement.parameters]
    # None is NULL here, whatever psycopg's annotation says.
    result = checked(server.exec_prepared(statement.name, values))  # type: ignore[arg-type]
    session.loaders.set_pgresult(result)
    rows: list[tuple[Any, ...]] = session.loaders.load_rows(0, result.ntuples, tuple)
    return rows


def new_session(raw: psycopg.Connection[Any]) -> Session:
    """Have PostgreSQL plan each statement once, for pages that are in memory.

    It assumes ten elements in an array that it doesn't know yet, so it would rather plan the lookup of one key each time, which
    takes several times as long as the lookup itself. And as if each page came from a spinning disk, it would rather read a
    table of a few hundred rows than use its index.
    """
    checked(raw.pgconn.exec_(b"SET plan_cache_mode = force_generic_plan; SET random_page_cost = 1.1"))
    return Session(set(), Transformer(raw.adapters))


def as_text(value: Any) -> bytes | None:
    """A value as PostgreSQL reads it; a list as an array."""
    if isinstance(value, list):
        return array(value).encode()
    return None if value is None else str(value).encode()


def array(values: list[Any]) -> str:
    # Most lists are long, and have numbers only, or texts with nothing to escape.
    if values and isinstance(values[0], str):
        try:
            joined = '","'.join(values)
        except TypeError:  # not all are text
            pass
        else:
            if "\\" not in joined and joined.count('"') == 2 * len(values) - 2:
                return f'{{"{joined}"}}'
    else:
        text = str(values)[1:-1]
        if "'" not in text and '"' not in text:  # none is text
            return f"{{{text.replace('None', 'NULL')}}}"
    return f"{{{','.join(map(element, values))}}}"


def element(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", r"\\").replace('"', r"\"")
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)


def checked(result: PGresult) -> PGresult:
    """`result`. Raises an error result as psycopg does."""
    if result.status not in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
        raise psycopg.errors.error_from_result(result)
    return result


@lru_cache(maxsize=64)
def prepared_form(sql: str) -> Prepared:
    names = tuple(dict.fromkeys(NAMED_PARAMETER.findall(sql)))
    text = NAMED_PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql)
    return Prepared(hashlib.sha256(sql.encode()).hexdigest()[:32].encode(), text.encode(), names)


# --- What differs between them, for callers -----------------------------------------------------------------------------


@lru_cache(maxsize=1)
def vendor() -> str:
    """postgresql or sqlite: the vendor of the default database."""
    return connections[DEFAULT_DB_ALIAS].vendor


def can_commit() -> bool:
    """Whether a statement that runs now commits on its own: no transaction is open."""
    return not connections[DEFAULT_DB_ALIAS].in_atomic_block


def database_time(value: datetime) -> datetime | str:
    """A UTC time as the database compares it: SQLite stores naive text."""
    return value if vendor() == "postgresql" else str(value.replace(tzinfo=None))


def identifier(value: UUID) -> str:
    """An id that both databases accept: SQLite stores ids without hyphens, and PostgreSQL can read them."""
    return value.hex


def listed(values: Iterable[str]) -> list[str] | str:
    """Texts as one parameter: an array, on SQLite for json_each."""
    return list(values) if vendor() == "postgresql" else json.dumps(list(values))


def listed_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows as parameters: on PostgreSQL an array for each column, for unnest, and on SQLite `rows`, for json_each."""
    if vendor() == "postgresql":
        return dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    return {"rows": json.dumps(rows)}
