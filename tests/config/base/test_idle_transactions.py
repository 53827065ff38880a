"""PostgreSQL ends our transactions if their process hangs."""

from __future__ import annotations

from contextlib import contextmanager

import psycopg
import pytest
from django.db import InterfaceError, InternalError, OperationalError, connection, transaction
from django.db.backends.signals import connection_created

from config.base import database
from ratelimits.stores.postgresql import connect
from tests.apikeys.gateway.servers import database_url
from tests.conftest import IDLE_LIMIT
from tests.waiting import wait_until
from tiers.models import Tier

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.postgresql,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no sessions"),
]


def timeout_setting():
    with connection.cursor() as cursor:
        return cursor.execute("SHOW idle_in_transaction_session_timeout").fetchone()[0]


@contextmanager
def new_connection():
    """A connection for this test only."""
    connection.close()
    try:
        yield
    finally:
        connection.close()


def test_connections_limit_idle_transactions(monkeypatch):
    monkeypatch.setattr(database, "IDLE_LIMIT", IDLE_LIMIT)
    with new_connection():
        assert timeout_setting() == "1min"
    with connect(1) as limiter:
        assert limiter.execute("SHOW idle_in_transaction_session_timeout").fetchone()[0] == "30s"


def test_a_connection_of_a_pool_is_limited_once(monkeypatch):
    with new_connection():
        connection.ensure_connection()
        monkeypatch.setattr(connection.connection, "execute", lambda *args: pytest.fail("The limit was set again."))
        connection_created.send(type(connection), connection=connection)


def test_a_limit_set_in_the_database_takes_precedence(monkeypatch):
    monkeypatch.setattr(database, "IDLE_LIMIT", IDLE_LIMIT)

    def alter(change):
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" {change}')

    alter("SET idle_in_transaction_session_timeout = '7s'")
    try:
        with new_connection():
            assert timeout_setting() == "7s"
    finally:
        alter("RESET idle_in_transaction_session_timeout")


def is_gone(pid):
    with psycopg.connect(database_url()) as other:
        return not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()


@transaction.atomic
def leave_transaction_open(tier):
    Tier.objects.select_for_update().get(pk=tier.pk)
    pid = connection.connection.info.backend_pid
    wait_until(lambda: is_gone(pid))
    tier.save()


def test_a_hanging_transaction_is_ended_and_the_next_one_works(monkeypatch, free):
    monkeypatch.setattr(database, "IDLE_LIMIT", "100ms")
    with new_connection():
        with pytest.raises((OperationalError, InterfaceError, InternalError)) as caught:
            leave_transaction_open(free)
        assert database.unavailable_error(caught.value)
        assert Tier.objects.filter(pk=free.pk).update(description="still here") == 1
