"""The partitions of key_usage, on PostgreSQL: one for each month of ids, which begin with the time. SQLite has none.

What fits in no month, such as the ids of a node whose clock is wrong, goes to the default partition, so that no insert fails.
Partitions are created and dropped while decisions are made: each attempt to lock the table gives up before it delays them
for long, and is repeated.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import Q
from django.utils import timezone

TABLE, DEFAULT = "key_usage", "key_usage_default"
# What the names of partitions begin with that are about to be dropped.
DETACHED = "key_usage_dropped"
MONTHS_AHEAD = 3
# How long a lock on the table, or a statement that holds one, may take: decisions wait behind it.
PATIENCE_MS = 40
ATTEMPTS = 60
PAUSE_SECONDS = 1.0
# PostgreSQL's lock_not_available and query_canceled.
REASONS = {
    "55P03": "The usage ledger is in use, such as by a backup or a long query. Run this again later.",
    "57014": (
        f"{DEFAULT} has too many events to move them to their month without delaying decisions. They're safe there. At a "
        f"quiet time, run manage.py partition_usage --patience 60000."
    ),
}

KNOWN = """
SELECT relname, pg_get_expr(relpartbound, oid), reltuples FROM pg_inherits JOIN pg_class ON oid = inhrelid
WHERE inhparent = to_regclass('key_usage')
"""
BOUNDS = re.compile(r"FROM \((?:'(.+?)'|MINVALUE)\) TO \('(.+?)'\)")

T = TypeVar("T")


class PartitionError(Exception):
    """Partitions can't be created or dropped now; the text says why."""


class Partition(NamedTuple):
    """start: None for the first of all. end: not included. rows: an estimate, or -1 if it has never been analyzed."""

    name: str
    start: datetime | None
    end: datetime
    rows: int


def partitions() -> list[Partition]:
    """The partitions by month, without the default one."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(KNOWN)
        known = [(name, BOUNDS.search(bound), rows) for name, bound, rows in cursor.fetchall()]
    found = [
        Partition(name, time_of(bound[1]) if bound[1] else None, time_of(bound[2]), int(rows))
        for name, bound, rows in known
        if bound
    ]
    return sorted(found, key=lambda partition: partition.end)


def first_id(at: datetime) -> UUID:
    """No id of that time or later is smaller."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def time_of(event_id: str) -> datetime:
    return datetime.fromtimestamp((UUID(event_id).int >> 80) / 1000, UTC)


def month_after(at: datetime, months: int = 1) -> datetime:
    """The start of that month."""
    years, month = divmod(at.month - 1 + months, 12)
    return datetime(at.year + years, month + 1, 1, tzinfo=UTC)


def patiently(action: Callable[..., T], *arguments: Any) -> T:
    """The action's result, in a transaction. It's repeated while it fails for the time it may take."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            with transaction.atomic():
                return action(*arguments)
        except OperationalError as error:
            reason = REASONS.get(getattr(error.__cause__, "sqlstate", ""), "")
            if not reason:
                raise
    raise PartitionError(reason)


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def wait_at_most(milliseconds: int, setting: str) -> None:
    """Until the transaction ends. setting: lock_timeout or statement_timeout."""
    execute(f"SET LOCAL {setting} = {milliseconds:d}")


def create_ahead(patience: int = PATIENCE_MS) -> list[str]:
    """Create the partitions of this month and the next ones, and return their names. patience: in milliseconds.

    Events of these months that are in the default partition move with it.
    """
    created: list[str] = []
    while partitions() and (name := patiently(create_next, patience)):
        created.append(name)
    return created


def create_next(patience: int) -> str:
    """The name of the partition after the last one; empty if there are enough."""
    wait_at_most(patience, "lock_timeout")
    # Only blocks other processes that do this.
    execute(f"LOCK TABLE ONLY {TABLE} IN SHARE UPDATE EXCLUSIVE MODE")
    start = partitions()[-1].end
    if start > month_after(timezone.now(), MONTHS_AHEAD):
        return ""
    name = f"{TABLE}_{start:%Y_%m}"
    first, end = first_id(start), first_id(month_after(start))
    wait_at_most(0, "statement_timeout")  # without a limit
    execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING ALL)")
    wait_at_most(patience, "statement_timeout")
    execute(
        f"LOCK TABLE {DEFAULT} IN ACCESS EXCLUSIVE MODE",
        f"WITH moved AS (DELETE FROM {DEFAULT} WHERE id >= '{first}' AND id < '{end}' RETURNING *) "  # noqa: S608
        f"INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')",
    )
    return name


def in_no_month() -> Q:
    """The events of the default partition, and of the first one if it covers everything before a month."""
    known = partitions()
    return Q(pk__lt=first_id(known[0].start or known[0].end)) | Q(pk__gte=first_id(known[-1].end))


def ended_before(before: datetime) -> list[Partition]:
    """The oldest partitions, as far as all of their events are from before then."""
    return list(takewhile(lambda known: known.end <= before and not has_event_since(known, before), partitions()))


def has_event_since(partition: Partition, before: datetime) -> bool:
    """Events of nodes whose clock is slow."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {partition.name} WHERE created_at >= %s)", [before])  # noqa: S608
        return bool(cursor.fetchone()[0])


def drop_before(before: datetime, progress: Callable[[str], object]) -> int:
    """Drop the partitions whose events are all from before then. Returns how many events they had, or about how many."""
    removed = 0
    for partition in ended_before(before):
        count = partition.rows if partition.rows >= 0 else count_of(partition)
        patiently(detach, partition, before)
        progress(f"Dropped {partition.name}, about {count:,} events")
        removed += count
    if partitions():
        drop_detached()
    return removed


def count_of(partition: Partition) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {partition.name}")  # noqa: S608
        return int(cursor.fetchone()[0])


def detach(partition: Partition, before: datetime) -> None:
    wait_at_most(PATIENCE_MS, "lock_timeout")
    execute(
        # Doesn't wait for the disk, while decisions wait for this. If that's lost, it's done again.
        "SET LOCAL synchronous_commit = off",
        f"LOCK TABLE ONLY {TABLE} IN ACCESS EXCLUSIVE MODE",
    )
    wait_at_most(PATIENCE_MS // 4, "lock_timeout")
    if has_event_since(partition, before):
        raise PartitionError(f"{partition.name} got a new event. Run this again.")
    execute(
        f"ALTER TABLE {TABLE} DETACH PARTITION {partition.name}",
        f"ALTER TABLE {partition.name} RENAME TO {DETACHED}{partition.name.removeprefix(TABLE)}",
    )


def drop_detached() -> None:
    """Including those left by a run that was stopped. They're no longer in use."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, %s)", [DETACHED])
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE {name}")
