from __future__ import annotations

import datetime as dt
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from ratelimits.checks import limiter_can_count
from ratelimits.limiter import Budget, limiter
from ratelimits.models import Denial, Outage
from ratelimits.stores import StoreUnavailable
from ratelimits.stores.memory import MemoryStore


def errors():
    return [error.id for error in limiter_can_count()]


def test_default_settings_pass(db):
    assert errors() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"RATE_LIMIT_STORE": "files"}, "E001"),
        ({"RATE_LIMIT_STORE": "memory", "DEBUG": False}, "E002"),
        ({"RATE_LIMIT_STORE": "redis", "REDIS_URL": ""}, "E003"),
        ({"DEFAULT_RATE_LIMIT_LIMIT": 0}, "E005"),
        ({"DEFAULT_RATE_LIMIT_PERIOD": 0}, "E006"),
        ({"DEFAULT_RATE_LIMIT_PERIOD": 2_678_401}, "E006"),
        ({"RATE_LIMITED_PATHS": ["/ok", "shop"]}, "E007"),
    ],
)
def test_invalid_settings_fail_the_check(settings, db, changes, expected):
    for name, value in changes.items():
        setattr(settings, name, value)
    assert errors() == [f"ratelimits.{expected}"]


def test_memory_store_with_several_workers_fails_the_check(settings, monkeypatch, db):
    settings.RATE_LIMIT_STORE, settings.DEBUG = "memory", True
    assert errors() == []
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert errors() == ["ratelimits.E002"]


def test_postgresql_store_needs_postgresql(settings, db):
    settings.RATE_LIMIT_STORE = "postgresql"
    assert errors() == ([] if connection.vendor == "postgresql" else ["ratelimits.E004"])


def test_sweep_counters_removes_expired_counters(memory, db):
    for number in range(5):
        memory.store.hit([Budget(f"expired:{number}", 1, 1)], clock=1)
    limiter().hit([Budget("live", 1, 60)])
    out = StringIO()
    call_command("sweep_counters", "--batch", "2", stdout=out)
    assert out.getvalue() == "Removed 5 expired counters and 0 old records.\n"
    assert memory.store.count() == 1


def test_sweep_counters_reports_progress(memory, db):
    for number in range(250):
        memory.store.hit([Budget(f"expired:{number}", 1, 1)], clock=1)
    out = StringIO()
    call_command("sweep_counters", "--batch", "2", stdout=out)
    assert "Checked 200 of 250 counters" in out.getvalue()


def test_sweep_counters_prunes_old_records(memory, db):
    old = timezone.now() - dt.timedelta(days=8)
    Denial.objects.create(key="k", owner="o", name="n", limit=1, period=1, window="rolling", first_at=old, last_at=old)
    Outage.objects.create(store="redis", node="n", error="e", began_at=old, ended_at=old)
    out = StringIO()
    call_command("sweep_counters", stdout=out)
    assert "1 old record." in out.getvalue()
    assert not Outage.objects.exists()


@pytest.mark.parametrize("batch", ["0", "-5"])
def test_batch_must_be_one_or_more(memory, batch):
    with pytest.raises(CommandError, match="1 or more"):
        call_command("sweep_counters", "--batch", batch)


def test_sweep_counters_fails_without_the_store(use_store):
    class UnavailableStore(MemoryStore):
        def count(self):
            raise StoreUnavailable("connection lost")

    use_store(UnavailableStore())
    with pytest.raises(CommandError, match="connection lost"):
        call_command("sweep_counters")


@pytest.mark.django_db(transaction=True)
def test_counters_migration_can_be_reversed():
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()  # of all apps, because other migrations depend on the counters
    executor.migrate([("ratelimits", "0001_initial")])
    assert "rate_counters" not in connection.introspection.table_names()
    MigrationExecutor(connection).migrate(leaves)
    assert ("rate_counters" in connection.introspection.table_names()) == (connection.vendor == "postgresql")
