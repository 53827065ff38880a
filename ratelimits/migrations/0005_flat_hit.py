"""Charge with fewer and flatter values: arrays of columns and a set of rows cost more than the counters themselves.

`rate_limit_hit` of migration 0002 is replaced, under the same name, by one that takes a budget's terms in one array of
numbers and answers in another.
"""

from __future__ import annotations

from importlib import import_module

from django.db import migrations

# The arithmetic of ratelimits/budgets.py; times in microseconds. Callers pass the budgets in one order everywhere (no
# deadlocks). Each is charged by one INSERT … ON CONFLICT … WHERE. When one has no room, the earlier ones are put back as
# they were, in the same transaction, whose row locks keep others from ever seeing the charge.
#
# terms, for each budget: share, room, span (0: by calendar month), kind, 1 if it only observes. kind: 0 rolling, 1 fixed,
# 2 fixed or month, in the logged table. Answers 1 if allowed, the clock, and for each budget: 1 if it fitted, at, span,
# used (at 0: nothing is counted).
FUNCTION = """
CREATE FUNCTION rate_limit_hit(keys text[], terms bigint[], clock bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    t bigint := coalesce(clock, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    n int := cardinality(keys);
    answer bigint[] := ARRAY[1, t];
    share bigint;
    room bigint;
    kind bigint;
    observed boolean;
    fits boolean;
    refused boolean := false;
    month timestamp;
    begins bigint;
    new_at bigint;
    new_span bigint;
    new_used bigint;
    -- Of each budget, where there are several: whether it was charged, and how its counter stood before and stands now.
    charged boolean[];
    old_ats bigint[];
    old_spans bigint[];
    old_useds bigint[];
    ats bigint[];
    spans bigint[];
    useds bigint[];
BEGIN
    -- Only the tables' own locks are asked for impatiently. Whoever gets them waits his turn at a row for as long as it
    -- takes: counting stays exact however many ask for one budget.
    PERFORM set_config('lock_timeout', '15ms', true);
    LOCK TABLE rate_counters, rate_quotas IN ROW EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '0', true);
    FOR i IN 1..n LOOP
        share := terms[5 * i - 4];
        room := terms[5 * i - 3];
        new_span := terms[5 * i - 2];
        kind := terms[5 * i - 1];
        observed := terms[5 * i] = 1;
        IF share > room THEN
            CONTINUE WHEN observed;
            refused := true;
            EXIT;
        END IF;
        IF n > 1 THEN
            IF kind = 2 THEN
                SELECT c.at, c.span, c.used INTO new_at, begins, new_used FROM rate_quotas AS c WHERE c.key = keys[i] FOR UPDATE;
            ELSE
                SELECT c.at, c.span, c.used INTO new_at, begins, new_used FROM rate_counters AS c WHERE c.key = keys[i] FOR UPDATE;
            END IF;
            old_ats[i] := new_at;
            old_spans[i] := begins;
            old_useds[i] := new_used;
        END IF;
        IF kind = 0 THEN
            INSERT INTO rate_counters AS c (key, at, span, used) VALUES (keys[i], t + share, new_span, 0)
            ON CONFLICT (key) DO UPDATE SET at = {moved}, span = excluded.span
            WHERE {moved} - t <= room
            RETURNING c.at, c.span, c.used INTO new_at, new_span, new_used;
            fits := FOUND;
        ELSE
            IF new_span = 0 THEN
                month := date_trunc('month', to_timestamp(t / 1000000) AT TIME ZONE 'UTC');
                begins := extract(epoch FROM month)::bigint * 1000000;
                new_span := extract(epoch FROM month + interval '1 month')::bigint * 1000000 - begins;
            ELSE
                begins := t - t % new_span;
            END IF;
            IF kind = 1 THEN
                INSERT INTO rate_counters AS c (key, at, span, used) {counted};
            ELSE
                INSERT INTO rate_quotas AS c (key, at, span, used) {counted};
            END IF;
            fits := FOUND;
        END IF;
        IF n = 1 AND fits THEN
            RETURN answer || ARRAY[1, new_at, new_span, new_used];
        END IF;
        charged[i] := fits;
        ats[i] := new_at;
        spans[i] := new_span;
        useds[i] := new_used;
        refused := NOT (fits OR observed);
        EXIT WHEN refused;
    END LOOP;
    FOR i IN 1..n LOOP
        CONTINUE WHEN NOT refused OR charged[i] IS DISTINCT FROM true;
        -- A counter that was not there yet may be another's by now: ours is taken off, and it goes if nothing is left.
        share := terms[5 * i - 4];
        kind := terms[5 * i - 1];
        IF kind = 2 THEN
            UPDATE rate_quotas AS c SET
                at = coalesce(old_ats[i], c.at),
                span = coalesce(old_spans[i], c.span),
                used = coalesce(old_useds[i], c.used - share)
            WHERE c.key = keys[i];
            DELETE FROM rate_quotas AS c WHERE c.key = keys[i] AND old_ats[i] IS NULL AND c.used = 0;
        ELSE
            UPDATE rate_counters AS c SET
                at = coalesce(old_ats[i], c.at - CASE kind WHEN 0 THEN share ELSE 0 END),
                span = coalesce(old_spans[i], c.span),
                used = coalesce(old_useds[i], c.used - CASE kind WHEN 0 THEN 0 ELSE share END)
            WHERE c.key = keys[i];
            DELETE FROM rate_counters AS c
            WHERE c.key = keys[i] AND old_ats[i] IS NULL AND (c.at <= t OR (kind = 1 AND c.used = 0));
        END IF;
    END LOOP;
    FOR i IN 1..n LOOP
        IF charged[i] AND NOT refused THEN
            answer := answer || ARRAY[1, ats[i], spans[i], useds[i]];
        ELSE
            IF terms[5 * i - 1] = 2 THEN
                SELECT c.at, c.span, c.used INTO new_at, new_span, new_used FROM rate_quotas AS c WHERE c.key = keys[i];
            ELSE
                SELECT c.at, c.span, c.used INTO new_at, new_span, new_used FROM rate_counters AS c WHERE c.key = keys[i];
            END IF;
            answer := answer || ARRAY[coalesce(charged[i], false)::int, coalesce(new_at, 0), coalesce(new_span, 0), coalesce(new_used, 0)];
        END IF;
    END LOOP;
    answer[1] := (NOT refused)::int;
    RETURN answer;
END $$;
"""
LEFT_OVER = "c.at - t > c.span + 1000000"
MOVED = f"""CASE
                WHEN c.at <= t OR {LEFT_OVER} THEN excluded.at
                WHEN c.span = excluded.span THEN c.at + share
                ELSE excluded.at
                    + least(excluded.span, trunc((c.at - t)::float8 * excluded.span / c.span)::bigint + 1)
            END"""
SAME_WINDOW = f"c.at > begins AND NOT {LEFT_OVER}"
COUNTED = f"""VALUES (keys[i], begins + new_span, new_span, share)
                ON CONFLICT (key) DO UPDATE SET
                    at = CASE WHEN {SAME_WINDOW} AND c.span = excluded.span THEN c.at ELSE excluded.at END,
                    span = excluded.span,
                    used = excluded.used + CASE WHEN {SAME_WINDOW} THEN c.used ELSE 0 END
                WHERE excluded.used + CASE WHEN {SAME_WINDOW} THEN c.used ELSE 0 END <= room
                RETURNING c.at, c.span, c.used INTO new_at, new_span, new_used"""
DROP = "DROP FUNCTION rate_limit_hit"


def create(schema_editor):
    schema_editor.execute(FUNCTION.replace("{moved}", MOVED).replace("{counted}", COUNTED), params=None)


def replace(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP)
        create(schema_editor)


def put_back(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        counters = import_module("ratelimits.migrations.0002_counters")
        impatient = import_module("ratelimits.migrations.0004_impatient_hit")
        schema_editor.execute(DROP)
        schema_editor.execute(counters.function(), params=None)
        schema_editor.execute(impatient.rewritten(impatient.PATIENT, impatient.IMPATIENT))


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0004_impatient_hit")]

    operations = [migrations.RunPython(replace, put_back)]
