"""Make the database read-only or its disk full."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import contextmanager

from django.db import connection
from django.db.backends.signals import connection_created

READ_ONLY = {"sqlite": "PRAGMA query_only = 1", "postgresql": "SET default_transaction_read_only = on"}


@contextmanager
def read_only():
    """Make database sessions that start in the block read-only."""

    def make_read_only(connection, **signal):
        with connection.cursor() as cursor:
            cursor.execute(READ_ONLY[connection.vendor])

    connection.close()
    connection_created.connect(make_read_only)
    try:
        yield
    finally:
        connection_created.disconnect(make_read_only)
        if connection.vendor == "sqlite":
            connection.close()  # on SQLite, the setting stands for a read-only disk, so it ends with the block


@contextmanager
def full_disk():
    """Prevent files from growing, including SQLite's write-ahead log."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # While another connection has the log open, it doesn't have to be created.
    other = sqlite3.connect(connection.settings_dict["NAME"])
    other.execute("SELECT count(*) FROM sqlite_master").fetchone()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        other.close()
