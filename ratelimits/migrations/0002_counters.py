"""The counters of the PostgreSQL store: two tables and the function that charges them. Other databases have none of it."""

from __future__ import annotations

from django.db import migrations

# Unlogged: no WAL, no fsync; a crash of PostgreSQL empties it, which gives at most one period of less than a day back.
# Fillfactor 70 leaves room for HOT updates, as no column that changes is indexed.
TABLES = """
CREATE UNLOGGED TABLE rate_counters (
    key text COLLATE "C" PRIMARY KEY, at bigint NOT NULL, span bigint NOT NULL, used bigint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE TABLE rate_quotas (
    key text COLLATE "C" PRIMARY KEY, at bigint NOT NULL, span bigint NOT NULL, used bigint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
"""

# The arithmetic of ratelimits/budgets.py; times in microseconds. Callers pass the budgets in one order everywhere (no
# deadlocks). Each is charged by one INSERT … ON CONFLICT … WHERE. When one has no room, the earlier ones are put back as
# they were, in the same transaction, whose row locks keep others from ever seeing the charge.
FUNCTION = """
CREATE FUNCTION rate_limit_hit(
    keys text[], kinds "char"[], shares bigint[], rooms bigint[], spans bigint[], observed boolean[], clock bigint
) RETURNS TABLE (allowed boolean, now bigint, fits boolean, counter_at bigint, counter_span bigint, counter_used bigint)
LANGUAGE plpgsql AS $$
DECLARE
    -- r: rolling. f: fixed. q: fixed, in the logged table. m: month, likewise.
    t bigint := coalesce(clock, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    n int := cardinality(keys);
    fitted boolean[] := array_fill(false, ARRAY[n]);
    ats bigint[] := array_fill(NULL::bigint, ARRAY[n]);
    new_spans bigint[] := ats;
    useds bigint[] := ats;
    old_ats bigint[] := ats;
    old_spans bigint[] := ats;
    old_useds bigint[] := ats;
    refused boolean := false;
    month timestamp;
    begins bigint;
    new_span bigint;
    new_at bigint;
    new_used bigint;
BEGIN
    FOR i IN 1..n LOOP
        new_span := spans[i];
        CONTINUE WHEN shares[i] > rooms[i] AND observed[i];
        IF n > 1 AND kinds[i] IN ('r', 'f') THEN
            SELECT c.at, c.span, c.used INTO new_at, begins, new_used FROM rate_counters AS c WHERE c.key = keys[i] FOR UPDATE;
        ELSIF n > 1 THEN
            SELECT c.at, c.span, c.used INTO new_at, begins, new_used FROM rate_quotas AS c WHERE c.key = keys[i] FOR UPDATE;
        END IF;
        old_ats[i] := new_at;
        old_spans[i] := begins;
        old_useds[i] := new_used;
        IF shares[i] > rooms[i] THEN
            refused := true;
        ELSIF kinds[i] = 'r' THEN
            INSERT INTO rate_counters AS c (key, at, span, used) VALUES (keys[i], t + shares[i], new_span, 0)
            ON CONFLICT (key) DO UPDATE SET at = {moved}, span = excluded.span
            WHERE {moved} - t <= rooms[i]
            RETURNING c.at, c.span, c.used INTO new_at, new_span, new_used;
            fitted[i] := FOUND;
        ELSE
            IF kinds[i] = 'm' THEN
                month := date_trunc('month', to_timestamp(t / 1000000) AT TIME ZONE 'UTC');
                begins := extract(epoch FROM month)::bigint * 1000000;
                new_span := extract(epoch FROM month + interval '1 month')::bigint * 1000000 - begins;
            ELSE
                begins := t - t % new_span;
            END IF;
            IF kinds[i] = 'f' THEN
                INSERT INTO rate_counters AS c (key, at, span, used) {counted};
            ELSE
                INSERT INTO rate_quotas AS c (key, at, span, used) {counted};
            END IF;
            fitted[i] := FOUND;
        END IF;
        IF fitted[i] THEN
            ats[i] := new_at;
            new_spans[i] := new_span;
            useds[i] := new_used;
        ELSIF NOT observed[i] THEN
            refused := true;
        END IF;
        EXIT WHEN refused;
    END LOOP;
    FOR i IN 1..n LOOP
        CONTINUE WHEN NOT (refused AND fitted[i]);
        -- A counter that was not there yet may be another's by now: ours is taken off, and it goes if nothing is left.
        IF kinds[i] IN ('r', 'f') THEN
            UPDATE rate_counters AS c SET
                at = coalesce(old_ats[i], c.at - CASE kinds[i] WHEN 'r' THEN shares[i] ELSE 0 END),
                span = coalesce(old_spans[i], c.span),
                used = coalesce(old_useds[i], c.used - CASE kinds[i] WHEN 'r' THEN 0 ELSE shares[i] END)
            WHERE c.key = keys[i];
            DELETE FROM rate_counters AS c
            WHERE c.key = keys[i] AND old_ats[i] IS NULL AND (c.at <= t OR (kinds[i] = 'f' AND c.used = 0));
        ELSE
            UPDATE rate_quotas AS c SET
                at = coalesce(old_ats[i], c.at),
                span = coalesce(old_spans[i], c.span),
                used = coalesce(old_useds[i], c.used - shares[i])
            WHERE c.key = keys[i];
            DELETE FROM rate_quotas AS c WHERE c.key = keys[i] AND old_ats[i] IS NULL AND c.used = 0;
        END IF;
    END LOOP;
    FOR i IN 1..n LOOP
        IF refused OR NOT fitted[i] THEN
            IF kinds[i] IN ('r', 'f') THEN
                SELECT c.at, c.span, c.used INTO new_at, new_span, new_used FROM rate_counters AS c WHERE c.key = keys[i];
            ELSE
                SELECT c.at, c.span, c.used INTO new_at, new_span, new_used FROM rate_quotas AS c WHERE c.key = keys[i];
            END IF;
        ELSE
            new_at := ats[i];
            new_span := new_spans[i];
            new_used := useds[i];
        END IF;
        allowed := NOT refused;
        now := t;
        fits := fitted[i];
        counter_at := new_at;
        counter_span := new_span;
        counter_used := new_used;
        RETURN NEXT;
    END LOOP;
END $$;
"""
LEFT_OVER = "c.at - t > c.span + 1000000"
MOVED = f"""CASE
                WHEN c.at <= t OR {LEFT_OVER} THEN excluded.at
                WHEN c.span = excluded.span THEN c.at + shares[i]
                ELSE excluded.at
                    + least(excluded.span, trunc((c.at - t)::float8 * excluded.span / c.span)::bigint + 1)
            END"""
SAME_WINDOW = f"c.at > begins AND NOT {LEFT_OVER}"
COUNTED = f"""VALUES (keys[i], begins + new_span, new_span, shares[i])
                ON CONFLICT (key) DO UPDATE SET
                    at = CASE WHEN {SAME_WINDOW} AND c.span = excluded.span THEN c.at ELSE excluded.at END,
                    span = excluded.span,
                    used = excluded.used + CASE WHEN {SAME_WINDOW} THEN c.used ELSE 0 END
                WHERE excluded.used + CASE WHEN {SAME_WINDOW} THEN c.used ELSE 0 END <= rooms[i]
                RETURNING c.at, c.span, c.used INTO new_at, new_span, new_used"""


def function():
    return FUNCTION.replace("{moved}", MOVED).replace("{counted}", COUNTED)


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(TABLES, params=None)
        schema_editor.execute(function(), params=None)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION rate_limit_hit; DROP TABLE rate_counters, rate_quotas")


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0001_initial")]

    operations = [migrations.RunPython(create, drop)]
