"""On PostgreSQL, partition key_usage by month. No row is written anew: the table becomes the first partition.

Ids begin with the time (UUID version 7), so a range of them is a month, and the primary key stays as it is. Each step
waits at most MIGRATE_LOCK_TIMEOUT for its lock and holds it for milliseconds; only the validation takes as long as the table
is large, and it blocks nobody. If a step fails, run the migration again.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from django.db import OperationalError, migrations, transaction
from django.utils import timezone

# Longer than the validation takes: until the table is a partition, ids of later months can't be inserted.
MARGIN = timedelta(days=7)
ATTEMPTS, PAUSE_SECONDS = 5, 1
FIRST, DEFAULT = "key_usage_start", "key_usage_default"

# What the new table needs, as statements. They name key_usage, whichever table has this name.
DEFINITIONS = """
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'key_usage'::regclass AND NOT indisprimary
UNION ALL
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'key_usage'::regclass AND NOT tgisinternal
UNION ALL
SELECT format('GRANT %s ON key_usage TO %s', privilege_type,
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
FROM pg_class, aclexplode(relacl) WHERE oid = 'key_usage'::regclass
"""
TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'key_usage'::regclass AND NOT tgisinternal"
INDEXES = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = 'key_usage'::regclass"
LARGEST = """
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'key_usage'::regclass
ORDER BY pg_relation_size(inhrelid) DESC LIMIT 1
"""
# The names of a partition's indexes, and of those of key_usage that they belong to.
INDEXES_OF = """
SELECT own.relname, parent.relname FROM pg_index
JOIN pg_class AS own ON own.oid = indexrelid
JOIN pg_inherits ON inhrelid = indexrelid
JOIN pg_class AS parent ON parent.oid = inhparent
WHERE indrelid = %s::regclass
"""


def first_id(month):
    return f"'{int(month.timestamp() * 1000) << 80:032x}'"


def partition(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    later = timezone.now() + MARGIN
    end = first_id(datetime(later.year + later.month // 12, later.month % 12 + 1, 1, tzinfo=UTC))
    with schema_editor.connection.cursor() as cursor:
        # Perhaps from an attempt that failed.
        cursor.execute("ALTER TABLE key_usage DROP CONSTRAINT IF EXISTS key_usage_range")
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {DEFAULT} (LIKE key_usage INCLUDING ALL)")
        try:
            cursor.execute(f"ALTER TABLE key_usage ADD CONSTRAINT key_usage_range CHECK (id < {end}) NOT VALID")
            move_strays(cursor, end)
            cursor.execute("ALTER TABLE key_usage VALIDATE CONSTRAINT key_usage_range")
            repeatedly(swap, cursor, end)
        except BaseException:
            repeatedly(cursor.execute, "ALTER TABLE key_usage DROP CONSTRAINT IF EXISTS key_usage_range")
            raise


def repeatedly(action, *arguments):
    """Until it gets its locks, or has been tried often enough."""
    for _ in range(ATTEMPTS - 1):
        try:
            return action(*arguments)
        except OperationalError:
            time.sleep(PAUSE_SECONDS)
    return action(*arguments)


def move_strays(cursor, end):
    """Rows of a node whose clock was wrong."""
    cursor.execute(
        f"WITH strays AS (DELETE FROM key_usage WHERE id >= {end} RETURNING *) INSERT INTO {DEFAULT} SELECT * FROM strays"
    )


@transaction.atomic
def swap(cursor, end):
    cursor.execute("LOCK TABLE key_usage IN ACCESS EXCLUSIVE MODE")
    definitions, triggers, indexes = (names(cursor, query) for query in (DEFINITIONS, TRIGGERS, INDEXES))
    statements = [
        *(f"DROP TRIGGER {name} ON key_usage" for name in triggers),
        *(f"ALTER INDEX {name} RENAME TO {name.replace('key_usage', FIRST, 1)}" for name in indexes),
        f"ALTER TABLE key_usage RENAME TO {FIRST}",
        f"CREATE TABLE key_usage (LIKE {FIRST} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id)",
        "ALTER TABLE key_usage DROP CONSTRAINT key_usage_range, ADD PRIMARY KEY (id)",
        *definitions,
        # The constraint spares PostgreSQL reading all rows.
        f"ALTER TABLE key_usage ATTACH PARTITION {FIRST} FOR VALUES FROM (MINVALUE) TO ({end})",
        f"ALTER TABLE {FIRST} DROP CONSTRAINT key_usage_range",
        f"ALTER TABLE key_usage ATTACH PARTITION {DEFAULT} DEFAULT",
        # Perhaps folded while the strays were missing.
        f"INSERT INTO key_usage_touched_hours (hour) SELECT DISTINCT date_trunc('hour', created_at, 'UTC') FROM {DEFAULT}",
    ]
    for statement in statements:
        cursor.execute(statement)


def unite(apps, schema_editor):
    """The largest partition becomes the table again, and the rows of the others are copied into it: nobody can use it meanwhile."""
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor, transaction.atomic():
        cursor.execute("LOCK TABLE key_usage IN ACCESS EXCLUSIVE MODE")
        (largest,) = names(cursor, LARGEST)
        definitions = [text for text in names(cursor, DEFINITIONS) if " INDEX " not in text]
        cursor.execute(INDEXES_OF, [largest])
        indexes = cursor.fetchall()
        statements = [
            f"ALTER TABLE key_usage DETACH PARTITION {largest}",
            f"INSERT INTO {largest} SELECT * FROM key_usage",
            "DROP TABLE key_usage",
            f"ALTER TABLE {largest} RENAME TO key_usage",
            *(f"ALTER INDEX {own} RENAME TO {name}" for own, name in indexes),
            *definitions,
        ]
        for statement in statements:
            cursor.execute(statement)


def names(cursor, query):
    cursor.execute(query)
    return [name for (name,) in cursor.fetchall()]


class Migration(migrations.Migration):
    # Each step commits, so that none holds a lock for the next.
    atomic = False

    dependencies = [("apikeys", "0021_denied")]

    operations = [migrations.RunPython(partition, unite)]
