"""On PostgreSQL, usage events are partitioned by month. Partitions are created ahead and dropped without blocking."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from apikeys.apps import create_partitions
from apikeys.gateway.usage_report import record
from apikeys.jobs.schedule import scheduled
from apikeys.models import KeyUsage, UsageHour
from apikeys.usage import partitions, rollups
from apikeys.usage.partitions import first_id, month_after
from config.base import backups
from config.base.models import uuid7
from tests.apikeys.usage.events import event, issue_key_to

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions"),
]
DAY = timedelta(days=1)
# In milliseconds, enough on any machine.
LONG_PATIENCE = 60_000


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(partitions, "ATTEMPTS", 2)
    monkeypatch.setattr(partitions, "PAUSE_SECONDS", 0.01)


@pytest.fixture
def key(alice):
    return issue_key_to(alice)


@pytest.fixture
def months():
    """The starts of the last three months, oldest first. They have partitions, as in an older database."""
    known = partitions.partitions()
    month = first = month_after(timezone.now(), -3)
    execute(f"DROP TABLE {known[0].name}")
    while month < known[0].end:
        create(month)
        month = month_after(month)
    return [month_after(first, number) for number in range(3)]


def create(month):
    bounds = f"FROM ('{first_id(month)}') TO ('{first_id(month_after(month))}')"
    execute(f"CREATE TABLE {name_of(month)} PARTITION OF key_usage FOR VALUES {bounds}")


def name_of(month):
    return f"key_usage_{month:%Y_%m}"


def names():
    return [partition.name for partition in partitions.partitions()]


def execute(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else None


def table_of(row):
    return execute("SELECT tableoid::regclass::text FROM key_usage WHERE id = %s", row.pk)[0][0]


def event_at(key, at, **fields):
    return event(key, at=at, id=uuid7(at), **fields)


def run(command, **options):
    output = StringIO()
    call_command(command, stdout=output, **options)
    return output.getvalue()


def test_migrate_creates_partitions_for_the_next_months(key):
    now = timezone.now()
    ends = [partition.end for partition in partitions.partitions()]
    assert ends[-1] == month_after(now, partitions.MONTHS_AHEAD + 1)
    later = [event_at(key, month_after(now, number)) for number in range(1, partitions.MONTHS_AHEAD + 1)]
    assert "key_usage_default" not in {table_of(row) for row in later}
    assert table_of(later[-1]) == name_of(month_after(now, partitions.MONTHS_AHEAD))


def test_job_creates_missing_partitions(monkeypatch):
    assert run("partition_usage") == "Created nothing: there are enough partitions.\n"
    monkeypatch.setattr(partitions, "MONTHS_AHEAD", 5)
    new = [name_of(month_after(timezone.now(), number)) for number in (4, 5)]
    assert run("partition_usage", patience=LONG_PATIENCE) == f"Created {', '.join(new)}.\n"
    assert names()[-2:] == new
    assert "partition_usage" in {job.name for job in scheduled()}


def test_event_without_a_month_is_kept_and_can_be_reported(key):
    unmatched = event(key, id=uuid4())
    assert table_of(unmatched) == "key_usage_default"
    assert KeyUsage.objects.get(pk=unmatched.pk).endpoint == "/orders"
    assert record([{"event_id": unmatched.pk, "tokens_used": 7}])["recorded"] == 1
    unmatched.refresh_from_db()
    assert unmatched.tokens_used == 7


def test_events_move_to_their_partition_when_it_is_created(key, monkeypatch):
    late = event_at(key, month_after(timezone.now(), 5))
    assert table_of(late) == "key_usage_default"
    monkeypatch.setattr(partitions, "MONTHS_AHEAD", 6)
    run("partition_usage", patience=LONG_PATIENCE)
    assert table_of(late) == name_of(month_after(timezone.now(), 5))
    assert rollups.TouchedHour.objects.count() == 0


def test_partition_is_not_created_if_moving_its_events_takes_too_long(key, monkeypatch):
    execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN OLD; END'")
    execute("CREATE TRIGGER slow BEFORE DELETE ON key_usage_default FOR EACH ROW EXECUTE FUNCTION slow()")
    late = event_at(key, month_after(timezone.now(), 5))
    monkeypatch.setattr(partitions, "MONTHS_AHEAD", 5)
    with pytest.raises(CommandError, match="key_usage_default has too many events"):
        run("partition_usage")
    assert table_of(late) == "key_usage_default"
    run("partition_usage", patience=LONG_PATIENCE)
    assert table_of(late) == name_of(month_after(timezone.now(), 5))


def test_other_database_errors_are_raised():
    def fail():
        raise OperationalError("The disk is full.")

    with pytest.raises(OperationalError, match="The disk is full"):
        partitions.patiently(fail)


@pytest.mark.parametrize("patience", [0, -1, 10**9])
def test_patience_is_validated(patience):
    with pytest.raises(CommandError, match=r"--patience must be a number from 1 to 3,600,000\."):
        run("partition_usage", patience=patience)


def test_migrate_continues_if_partitions_cannot_be_created(monkeypatch, caplog):
    def fail():
        raise partitions.PartitionError("In use.")

    monkeypatch.setattr("apikeys.apps.create_ahead", fail)
    with caplog.at_level(logging.WARNING):
        create_partitions()
    assert "No partitions were created for the usage ledger. In use." in caplog.text


def test_pruning_drops_months_and_keeps_their_totals(key, months):
    for month in months:
        event_at(key, month + 3 * DAY)
    new = event(key)
    dropped, days = names()[:2], (timezone.now() - months[2]).days
    assert run("prune_usage", days=days, whole_months=True, dry_run=True) == f"Would drop {', '.join(dropped)}.\n"
    text = run("prune_usage", days=days, whole_months=True)
    assert f"Dropped {dropped[0]}, about 1 events" in text
    assert f"Removed 2 events from before {months[2]:%Y-%m-%d}." in text
    assert names()[0] == name_of(months[2])
    assert KeyUsage.objects.count() == 2
    assert KeyUsage.objects.filter(pk=new.pk).exists()
    assert list(UsageHour.objects.values_list("requests", flat=True)) == [1, 1]


def test_events_of_a_large_month_are_estimated(key, months):
    for hours in range(3):
        event_at(key, months[0] + timedelta(hours=hours))
    execute(f"ANALYZE {name_of(months[0])}")
    text = run("prune_usage", days=(timezone.now() - months[1]).days, whole_months=True)
    assert "Removed 3 events" in text


def test_leftovers_of_an_interrupted_run_are_dropped(months):
    execute("CREATE TABLE key_usage_dropped_2020_01 ()")
    run("prune_usage")
    assert execute("SELECT to_regclass('key_usage_dropped_2020_01')") == [(None,)]


def test_older_days_of_a_month_are_removed_by_default(key, months):
    old, kept = event_at(key, months[2] + DAY), event_at(key, months[2] + 5 * DAY)
    run("prune_usage", days=(timezone.now() - months[2]).days - 3)
    assert set(KeyUsage.objects.all()) == {kept}
    old = event_at(key, months[2] + DAY)
    run("prune_usage", days=(timezone.now() - months[2]).days - 3, whole_months=True)
    assert set(KeyUsage.objects.all()) == {kept, old}


def test_old_events_without_a_month_are_removed(key, months):
    first, last = event_at(key, months[0] - DAY), event(key, at=months[0], id=uuid4())
    recent = event(key, id=uuid4())
    assert {table_of(row) for row in (first, last, recent)} == {"key_usage_default"}
    run("prune_usage", days=30, whole_months=True)
    assert set(KeyUsage.objects.all()) == {recent}


def test_old_events_are_removed_from_the_start_partition(key):
    assert names()[0] == "key_usage_start"
    old, new = event(key, 100 * DAY), event(key)
    run("prune_usage", days=90, whole_months=True)
    assert set(KeyUsage.objects.all()) == {new}
    assert old.pk != new.pk


def test_month_with_a_newer_event_is_not_dropped(key, months):
    slow_clock = event(key, id=uuid7(months[0] + DAY))
    event_at(key, months[1] + DAY)
    assert partitions.ended_before(months[2]) == []
    with pytest.raises(partitions.PartitionError, match="got a new event"):
        partitions.patiently(partitions.detach, partitions.partitions()[0], months[2])
    assert KeyUsage.objects.filter(pk=slow_clock.pk).exists()


def test_scheduled_job_drops_whole_months(settings):
    settings.KEEP_USAGE_DAYS = 90
    (job,) = (job for job in scheduled() if job.name == "prune_usage")
    assert job.arguments == ("--days=90", "--whole-months")
    assert job.purpose == "Removes months of usage events older than 90 days."


@contextmanager
def reader():
    """A transaction that read the table and is still open."""
    with psycopg.connect(backups.address()[0]) as other:
        other.execute("SELECT count(*) FROM key_usage")
        yield


@pytest.mark.django_db(transaction=True)
def test_month_is_not_dropped_while_the_table_is_read(key):
    last = partitions.partitions()[-1]
    with reader():
        with pytest.raises(partitions.PartitionError, match="The usage ledger is in use"):
            partitions.patiently(partitions.detach, last, last.end)
        event(key)
    assert last.name in names()


LOCKED = """
SELECT DISTINCT relation::regclass::text FROM pg_locks JOIN pg_class c ON c.oid = relation
WHERE pid = pg_backend_pid() AND mode <> 'AccessShareLock' AND relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
"""


@pytest.mark.django_db(transaction=True)
def test_dropping_a_month_locks_no_other_table(transactional_db):
    """It can take seconds. A foreign key, for example, would lock users and keys too."""
    last = partitions.partitions()[-1]
    partitions.patiently(partitions.detach, last, last.end)
    try:
        with transaction.atomic():
            detached = last.name.replace("key_usage", "key_usage_dropped")
            execute(f"LOCK TABLE {detached}")  # its name is gone once it's dropped
            locked = execute(LOCKED)
            partitions.drop_detached()
            assert execute("SELECT to_regclass(%s)", detached) == [(None,)]
            assert [name for (name,) in execute(LOCKED)] == []
        assert locked == [(detached,)]
    finally:
        partitions.create_ahead()
    assert names()[-1] == last.name


def test_command_says_why_a_month_was_not_dropped(months, monkeypatch):
    def fail(*arguments):
        raise partitions.PartitionError("In use.")

    monkeypatch.setattr(rollups, "drop_before", fail)
    with pytest.raises(CommandError, match=r"^In use\.$"):
        run("prune_usage", days=1, whole_months=True)
