"""The migration that partitions key_usage moves no rows, doesn't block requests, and can be reversed or repeated."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from io import StringIO
from uuid import uuid4

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from apikeys.models import KeyUsage, TouchedHour
from apikeys.usage import partitions
from config.base import backups
from tests.apikeys.usage.events import event, issue_key_to

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions"),
]
INDEXES = "SELECT indexname FROM pg_indexes WHERE tablename = 'key_usage' ORDER BY 1"
TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'key_usage'::regclass AND NOT tgisinternal ORDER BY 1"
RANGES = "SELECT count(*) FROM pg_constraint WHERE conname = 'key_usage_range'"


@pytest.fixture
def before():
    """Before the migration; afterwards, everything is migrated again."""
    migrate("0021")
    yield
    call_command("migrate", verbosity=0)


def migrate(name):
    call_command("migrate", "apikeys", name, verbosity=0, stdout=StringIO())


def value(sql):
    return column(sql)[0]


def column(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


def is_partitioned():
    return bool(partitions.partitions())


@contextmanager
def reader():
    with psycopg.connect(backups.address()[0]) as other:
        other.execute("SELECT count(*) FROM key_usage")
        yield


def test_migration_keeps_rows_indexes_and_triggers(before, alice):
    key = issue_key_to(alice)
    rows = [event(key), event(key, timedelta(days=100)), event(key, id=uuid4())]
    file = value("SELECT pg_relation_filenode('key_usage')")
    indexes, triggers = column(INDEXES), column(TRIGGERS)
    with connection.cursor() as cursor:
        cursor.execute("GRANT SELECT ON key_usage TO PUBLIC")
    TouchedHour.objects.all().delete()
    migrate("0022")
    assert is_partitioned()
    assert set(KeyUsage.objects.all()) == set(rows)
    assert value("SELECT pg_relation_filenode('key_usage_start')") == file
    assert (column(INDEXES), column(TRIGGERS)) == (indexes, triggers)
    assert value("SELECT has_table_privilege('pg_monitor', 'key_usage', 'SELECT')")
    assert value("SELECT count(*) FROM key_usage_default") == 1
    assert value(RANGES) == 0
    event(key, timedelta(days=3))
    assert TouchedHour.objects.filter(hour__lt=timezone.now() - timedelta(days=2)).exists()


def test_reverse_migration_keeps_rows_of_all_partitions(alice):
    key = issue_key_to(alice)
    rows = [event(key), event(key, id=uuid4())]
    indexes, triggers = column(INDEXES), column(TRIGGERS)
    migrate("0021")
    try:
        assert not is_partitioned()
        assert set(KeyUsage.objects.all()) == set(rows)
        assert (column(INDEXES), column(TRIGGERS)) == (indexes, triggers)
        assert value("SELECT count(*) FROM pg_class WHERE relname LIKE 'key_usage_20%'") == 0
        event(key)
    finally:
        call_command("migrate", verbosity=0)
    assert KeyUsage.objects.count() == 3


def test_migration_without_a_lock_changes_nothing_and_can_be_repeated(before, alice, settings):
    settings.MIGRATE_LOCK_TIMEOUT = "20ms"
    key = issue_key_to(alice)
    with reader(), pytest.raises(OperationalError, match="lock timeout"):
        migrate("0022")
    assert not is_partitioned()
    assert value(RANGES) == 0
    event(key)
    migrate("0022")
    assert is_partitioned()
    assert KeyUsage.objects.count() == 1


def test_failed_migration_accepts_new_rows_and_can_be_repeated(before, alice, monkeypatch):
    migration = import_module("apikeys.migrations.0022_partitioned_usage")
    monkeypatch.setattr(migration, "PAUSE_SECONDS", 0)
    swap = migration.swap

    def fail(*arguments):
        swap(*arguments)
        raise OperationalError("Gone.")

    key = issue_key_to(alice)
    early = event(key, id=uuid4())
    with monkeypatch.context() as patch:
        patch.setattr(migration, "swap", transaction.atomic(fail))
        with pytest.raises(OperationalError, match="Gone"):
            migrate("0022")
    assert not is_partitioned()
    assert value(RANGES) == 0
    later = event(key, id=uuid4())
    migrate("0022")
    assert set(KeyUsage.objects.all()) == {early, later}
