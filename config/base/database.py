"""Distinguishes a database that is unavailable (read-only, full, locked, gone) from other errors; many rows at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

import psycopg
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.expressions import DatabaseDefault

T = TypeVar("T")

# Primary result codes. SQLITE_ERROR, such as a missing table, is not among them.
SQLITE_UNAVAILABLE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
# PostgreSQL's read_only_sql_transaction and transaction timeouts, which psycopg raises as InternalError.
INTERNAL_UNAVAILABLE = {"25006", "25P03", "25P04"}
# Class 54, program limit exceeded, such as a value that is too long for an index.
LIMITS = "54"
# How long PostgreSQL waits for the next statement of a transaction, unless it has a limit of its own.
IDLE_LIMIT = "60s"
# A sort that can't be avoided would cost so much that the statement was compiled, which takes longer than the statement.
GROUP_BY_HASH = "SELECT set_config('enable_sort', 'off', true), set_config('jit', 'off', true)"
LIMIT_IDLE = """
    SELECT set_config('idle_in_transaction_session_timeout', %s, false)
    WHERE current_setting('idle_in_transaction_session_timeout') = '0'
"""


def unavailable_error(error: BaseException | None) -> BaseException | None:
    """`error` or the error behind it that says the database is unavailable, or None. Django's sessions hide it."""
    while error is not None and not is_unavailable_error(error):
        error = error.__cause__ or error.__context__
    return error


def is_unavailable_error(error: BaseException) -> bool:
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(error, InternalError):
        return state in INTERNAL_UNAVAILABLE
    if isinstance(error, OperationalError):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_BUSY)
        return code & 0xFF in SQLITE_UNAVAILABLE and not state.startswith(LIMITS)
    return isinstance(error, InterfaceError)


def drop_connection() -> None:
    """Make the next query open a new connection: one opened while the database was read-only stays read-only."""
    database = connections[DEFAULT_DB_ALIAS]
    if database.connection is None or database.in_atomic_block:
        return
    if database.vendor == "postgresql":
        database.connection.close()  # or a pool would hand it out again
    database.close()


def drop_read_only_connection(**signal: Any) -> None:
    """Drop a read-only connection before and after a request, so that it isn't reused."""
    raw = connections[DEFAULT_DB_ALIAS].connection
    # A closed connection has no parameters; Django replaces it.
    if not isinstance(raw, psycopg.Connection) or raw.closed:
        return
    if raw.pgconn.parameter_status(b"default_transaction_read_only") == b"on":
        drop_connection()


_limited: WeakSet[psycopg.Connection[Any]] = WeakSet()


def limit_idle_transactions(connection: BaseDatabaseWrapper, **signal: Any) -> None:
    """End a transaction whose process hangs: others wait for its locks, and PostgreSQL keeps old versions of rows for it."""
    # A pool hands out the same connections for every request.
    if connection.vendor == "postgresql" and connection.connection not in _limited:
        connection.connection.execute(LIMIT_IDLE, [IDLE_LIMIT])
        _limited.add(connection.connection)


@contextmanager
def grouping_by_hash() -> Iterator[None]:
    """Keep PostgreSQL from sorting rows to group them, until the transaction ends.

    It does if its guess of the number of groups is far off, as with groups of many columns, or with rows that are newer than
    its statistics. For usage events, that takes two to five times as long.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(savepoint=False):
        with connection.cursor() as cursor:
            cursor.execute(GROUP_BY_HASH)
        yield


def release_connection() -> None:
    """Like Django around each request: don't leave a broken or old connection to the next one."""
    drop_read_only_connection()
    connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()


def in_batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


class Insert(NamedTuple):
    """Many new rows of a model, ready to be written.

    As bulk_create, which prepares them one by one inside the transaction. That takes most of its time, and on SQLite nobody
    else can write meanwhile. Columns for which the first row has no value are left to the database.
    """

    sql: str
    values: list[list[Any]]

    @classmethod
    def of(cls, rows: Sequence[Model]) -> Insert:
        quote = connection.ops.quote_name
        fields = [
            field
            for field in rows[0]._meta.local_concrete_fields
            if not field.generated and not isinstance(field.pre_save(rows[0], add=True), DatabaseDefault)
        ]
        fields = [field for field in fields if not field.primary_key or rows[0].pk is not None]
        columns, marks = ", ".join(quote(str(field.column)) for field in fields), ", ".join(["%s"] * len(fields))
        values = [
            [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields] for row in rows
        ]
        return cls(f"INSERT INTO {quote(rows[0]._meta.db_table)} ({columns}) VALUES ({marks})", values)  # noqa: S608

    def run(self) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(self.sql, self.values)
