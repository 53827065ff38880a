"""A database that refuses work for now (read-only, full, locked, gone), told apart from a fault of our own."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, InterfaceError, InternalError, OperationalError, connections

# Primary result codes. SQLITE_ERROR, such as a missing table, is not among them.
SQLITE_REFUSALS = {
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
# PostgreSQL's read_only_sql_transaction and the timeouts that end a transaction, which psycopg counts as internal errors.
INTERNAL_REFUSALS = {"25006", "25P03", "25P04"}
# Class 54, program limit exceeded: a value that is too long for an index, for example.
LIMITS = "54"


def unavailable_error(error: BaseException | None) -> BaseException | None:
    """The refusal that `error` is, or that led to it; None if there's none. Django's sessions, for one, hide it."""
    while error is not None and not is_unavailable_error(error):
        error = error.__cause__ or error.__context__
    return error


def is_unavailable_error(error: BaseException) -> bool:
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(error, InternalError):
        return state in INTERNAL_REFUSALS
    if isinstance(error, OperationalError):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_BUSY)
        return code & 0xFF in SQLITE_REFUSALS and not state.startswith(LIMITS)
    return isinstance(error, InterfaceError)


def drop_connection() -> None:
    """Let the next query have a new connection: one that was opened read-only stays so when the database no longer is."""
    database = connections[DEFAULT_DB_ALIAS]
    if database.connection is None or database.in_atomic_block:
        return
    if database.vendor == "postgresql":
        database.connection.close()  # or a pool would hand it out again
    database.close()


def drop_read_only_connection(**signal: Any) -> None:
    """Before and after a request: whoever comes next must not find a session that is read-only for as long as it lives."""
    raw = connections[DEFAULT_DB_ALIAS].connection
    # A connection that is closed has no parameters to ask for; Django replaces it.
    if not isinstance(raw, psycopg.Connection) or raw.closed:
        return
    if raw.pgconn.parameter_status(b"default_transaction_read_only") == b"on":
        drop_connection()
