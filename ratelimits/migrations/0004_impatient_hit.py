"""Let a hit give up if the whole table of counters is locked. It still waits for its turn at a single counter."""

from __future__ import annotations

from django.db import migrations

# Only the wait for the table lock is limited. A hit still waits for a row as long as it takes, so counting stays exact
# however many requests use one budget.
PATIENT = "\nBEGIN\n    FOR i IN 1..n LOOP\n        new_span"
IMPATIENT = """
BEGIN
    PERFORM set_config('lock_timeout', '15ms', true);
    LOCK TABLE rate_counters, rate_quotas IN ROW EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '0', true);
    FOR i IN 1..n LOOP
        new_span"""
# Truncating a table's file locks it briefly. Its pages are reused anyway.
KEEP_PAGES = "ALTER TABLE rate_counters {0}; ALTER TABLE rate_quotas {0}"


def rewritten(before, after):
    """The statement that puts `after` for `before` in the body of rate_limit_hit (migration 0002)."""
    return f"""
        DO $do$ BEGIN
            EXECUTE replace(pg_get_functiondef('rate_limit_hit'::regproc), $old${before}$old$, $new${after}$new$);
        END $do$
    """


def forwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(rewritten(PATIENT, IMPATIENT))
        schema_editor.execute(KEEP_PAGES.format("SET (vacuum_truncate = false)"))


def backwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(rewritten(IMPATIENT, PATIENT))
        schema_editor.execute(KEEP_PAGES.format("RESET (vacuum_truncate)"))


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0003_refusals_outages")]

    operations = [migrations.RunPython(forwards, backwards)]
