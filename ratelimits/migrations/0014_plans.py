"""Have rate_limit_charge find its counters by index, whatever the planner knows of the tables.

A worker plans the statements once, often while the tables are empty. PostgreSQL then read a whole table for each batch, and
rate_counters grows to hundreds of pages between two vacuums.
"""

from __future__ import annotations

from importlib import import_module

from django.db import migrations

# The arithmetic of ratelimits/budgets.py; times in microseconds. The requests are charged one after the other, each all or
# nothing, in memory: every counter is read and locked once before and written once after, however many requests ask for it.
#
# keys: the counters, each once, in the order of the bytes: first `shorts` of them in rate_counters, then those in
# rate_quotas. All callers lock in this order, so no two wait for each other. ends: for each request, how many budgets it and
# all earlier ones have. terms, for each budget: place in `keys`, share, room, span (0 or less: by calendar month, 1 less the
# billing day), kind (1: rolling, 2: week), 1 if it only observes. clock: for tests.
#
# answer: the clock, then for each request 1 if it's allowed, and for each of its budgets 1 if it fits, at, span, used (at 0:
# nothing is counted).
#
# A counter that isn't there is created, unused, in a transaction of its own: a caller who waits for a row must hold no new
# one. Only the tables' own locks are asked for impatiently. Whoever gets them waits for a row for as long as it takes.
#
# The statements leave the planner one choice only, besides a scan of the whole table, which is switched off: each key by the
# index, and then each row, which is locked and stays where it is, by its place. The counters needn't wait for the disk,
# because the usage rows do, which are written after them.
PROCEDURE = """
CREATE OR REPLACE PROCEDURE rate_limit_charge(
    INOUT answer bigint[], keys text[], shorts int, ends int[], terms bigint[], clock bigint
) LANGUAGE plpgsql AS $$
DECLARE
    n CONSTANT int := cardinality(keys);
    t bigint;
    setting text;
    -- The counters: where their rows are, how they stand, and whether they were charged.
    tids tid[];
    ats bigint[];
    spans bigint[];
    useds bigint[];
    charged boolean[];
    -- Those in rate_quotas.
    more_tids tid[];
    more_ats bigint[];
    more_spans bigint[];
    more_useds bigint[];
    -- Of the request's budgets: whether they fit, and what they would be.
    fits boolean[];
    new_ats bigint[];
    new_spans bigint[];
    new_useds bigint[];
    allowed boolean;
    begins bigint;
    month_begins bigint;
    month_span bigint;
    month_day bigint;
    month timestamp;
    first int := 1;
    k int;
    place int := 1;
    share bigint;
    room bigint;
    span bigint;
    used bigint;
    leftover boolean;
BEGIN
    LOOP
        setting := set_config('lock_timeout', '15ms', true);
        LOCK TABLE rate_counters, rate_quotas IN ROW EXCLUSIVE MODE;
        setting := set_config('lock_timeout', '0', true)
            || set_config('enable_seqscan', 'off', true)
            || set_config('synchronous_commit', 'off', true);
        tids := '{}';
        ats := '{}';
        spans := '{}';
        useds := '{}';
        IF shorts > 0 THEN
            SELECT array_agg(c.tid), array_agg(c.at), array_agg(c.span), array_agg(c.used) INTO tids, ats, spans, useds
            FROM unnest(keys[1:shorts]) AS asked (key) CROSS JOIN LATERAL (
                SELECT c.ctid AS tid, c.at, c.span, c.used FROM rate_counters AS c WHERE c.key = asked.key FOR UPDATE
            ) AS c;
        END IF;
        IF shorts < n THEN
            SELECT array_agg(c.tid), array_agg(c.at), array_agg(c.span), array_agg(c.used)
            INTO more_tids, more_ats, more_spans, more_useds
            FROM unnest(keys[shorts + 1:n]) AS asked (key) CROSS JOIN LATERAL (
                SELECT c.ctid AS tid, c.at, c.span, c.used FROM rate_quotas AS c WHERE c.key = asked.key FOR UPDATE
            ) AS c;
            tids := tids || more_tids;
            ats := ats || more_ats;
            spans := spans || more_spans;
            useds := useds || more_useds;
        END IF;
        EXIT WHEN cardinality(ats) = n;
        ROLLBACK;
        INSERT INTO rate_counters (key, at, span, used)
        SELECT key, 0, 0, 0 FROM unnest(keys[1:shorts]) AS key ORDER BY key COLLATE "C" ON CONFLICT DO NOTHING;
        INSERT INTO rate_quotas (key, at, span, used)
        SELECT key, 0, 0, 0 FROM unnest(keys[shorts + 1:n]) AS key ORDER BY key COLLATE "C" ON CONFLICT DO NOTHING;
        COMMIT;
    END LOOP;
    -- After the wait for the rows: nobody was charged later.
    t := coalesce(clock, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    charged := array_fill(false, ARRAY[n]);
    new_ats := array_fill(0::bigint, ARRAY[cardinality(terms) / 6]);
    new_spans := new_ats;
    new_useds := new_ats;
    fits := array_fill(false, ARRAY[cardinality(terms) / 6]);
    -- Elements are assigned, not appended, which would copy the array each time.
    answer := array_fill(0::bigint, ARRAY[1 + cardinality(ends) + 4 * cardinality(fits)]);
    answer[1] := t;
    FOR i IN 1..cardinality(ends) LOOP
        allowed := true;
        FOR b IN first..ends[i] LOOP
            k := terms[6 * b - 5];
            share := terms[6 * b - 4];
            room := terms[6 * b - 3];
            span := terms[6 * b - 2];
            leftover := ats[k] - t > spans[k] + 1000000;
            IF terms[6 * b - 1] = 1 THEN
                begins := CASE
                    WHEN ats[k] <= t OR leftover THEN 0
                    WHEN spans[k] = span THEN ats[k] - t
                    ELSE least(span, trunc((ats[k] - t)::float8 * span / spans[k])::bigint + 1)
                END;
                new_ats[b] := t + begins + share;
                new_spans[b] := span;
                new_useds[b] := 0;
                fits[b] := begins + share <= room;
            ELSE
                IF span <= 0 THEN
                    IF month_day IS DISTINCT FROM 1 - span THEN
                        month_day := 1 - span;
                        month := date_trunc('month', to_timestamp(t / 1000000) AT TIME ZONE 'UTC');
                        month_begins := rate_limit_month_begin(month, month_day);
                        IF t < month_begins THEN
                            month := month - interval '1 month';
                            month_begins := rate_limit_month_begin(month, month_day);
                        END IF;
                        month_span := rate_limit_month_begin(month + interval '1 month', month_day) - month_begins;
                    END IF;
                    used := CASE WHEN ats[k] > t AND NOT leftover THEN useds[k] ELSE 0 END;
                    span := CASE WHEN used > 0 THEN spans[k] ELSE month_span END;
                    begins := CASE WHEN used > 0 THEN ats[k] - span ELSE month_begins END;
                ELSE
                    begins := t - (t - CASE terms[6 * b - 1] WHEN 2 THEN 345600000000 ELSE 0 END) % span;
                    used := CASE WHEN ats[k] > begins AND NOT leftover THEN useds[k] ELSE 0 END;
                END IF;
                new_ats[b] := CASE WHEN used > 0 AND spans[k] = span THEN ats[k] ELSE begins + span END;
                new_spans[b] := span;
                new_useds[b] := used + share;
                fits[b] := used + share <= room;
            END IF;
            allowed := allowed AND (fits[b] OR terms[6 * b] = 1);
        END LOOP;
        place := place + 1;
        answer[place] := allowed::int;
        FOR b IN first..ends[i] LOOP
            k := terms[6 * b - 5];
            IF allowed AND fits[b] AND terms[6 * b - 4] > 0 THEN
                ats[k] := new_ats[b];
                spans[k] := new_spans[b];
                useds[k] := new_useds[b];
                charged[k] := true;
            END IF;
            answer[place + 1] := fits[b]::int;
            answer[place + 2] := ats[k];
            answer[place + 3] := spans[k];
            answer[place + 4] := useds[k];
            place := place + 4;
        END LOOP;
        first := ends[i] + 1;
    END LOOP;
    IF shorts > 0 THEN
        UPDATE rate_counters AS c SET at = counted.at, span = counted.span, used = counted.used
        FROM unnest(tids[1:shorts], ats[1:shorts], spans[1:shorts], useds[1:shorts], charged[1:shorts])
            AS counted (tid, at, span, used, charged)
        WHERE c.ctid = counted.tid AND counted.charged;
    END IF;
    IF shorts < n THEN
        UPDATE rate_quotas AS c SET at = counted.at, span = counted.span, used = counted.used
        FROM unnest(tids[shorts + 1:n], ats[shorts + 1:n], spans[shorts + 1:n], useds[shorts + 1:n], charged[shorts + 1:n])
            AS counted (tid, at, span, used, charged)
        WHERE c.ctid = counted.tid AND counted.charged;
    END IF;
    -- The rows are free for others before the caller goes on.
    COMMIT;
END $$;
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(PROCEDURE, params=None)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        before = import_module("ratelimits.migrations.0010_windows")
        schema_editor.execute(before.replacing(before.procedure()), params=None)


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0013_times_in_a_zone")]

    operations = [migrations.RunPython(create, drop)]
