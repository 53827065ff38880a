"""Weeks, and months that begin on a billing day, for the procedure of migration 0008; and validated hosts."""

from __future__ import annotations

from importlib import import_module

from django.db import migrations

from config.base.hosts import HostPatternField

# A month begins on its last day if it doesn't have this one.
MONTH_BEGIN = """
CREATE FUNCTION rate_limit_month_begin(month timestamp, day bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT extract(
        epoch FROM least(month + (day - 1) * interval '1 day', month + interval '1 month' - interval '1 day')
    )::bigint * 1000000
$$;
"""
# span: 0 or less stands for months, 1 less the billing day. The term before the last is 2 for weeks, which begin on Monday.
# After a change of the billing day, the month that is running ends as before.
OLD_BOUNDS = """
                IF span = 0 THEN
                    IF month_span IS NULL THEN
                        month := date_trunc('month', to_timestamp(t / 1000000) AT TIME ZONE 'UTC');
                        month_begins := extract(epoch FROM month)::bigint * 1000000;
                        month_span := extract(epoch FROM month + interval '1 month')::bigint * 1000000 - month_begins;
                    END IF;
                    begins := month_begins;
                    span := month_span;
                ELSE
                    begins := t - t % span;
                END IF;
                used := CASE WHEN ats[k] > begins AND NOT leftover THEN useds[k] ELSE 0 END;
"""
NEW_BOUNDS = """
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
"""
OLD_PROCEDURE = import_module("ratelimits.migrations.0008_charge_procedure").PROCEDURE


def procedure():
    text = OLD_PROCEDURE
    for old, new in (
        (OLD_BOUNDS, NEW_BOUNDS),
        ("month_span bigint;", "month_span bigint;\n    month_day bigint;"),
    ):
        if old not in text:
            raise ValueError("The procedure of migration 0008 has changed.")
        text = text.replace(old, new)
    return text


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(MONTH_BEGIN, params=None)
        schema_editor.execute(replacing(procedure()), params=None)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(replacing(OLD_PROCEDURE), params=None)
        schema_editor.execute("DROP FUNCTION rate_limit_month_begin")


def replacing(procedure):
    return procedure.replace("CREATE PROCEDURE", "CREATE OR REPLACE PROCEDURE")


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0009_own_limits")]

    operations = [
        migrations.RunPython(create, drop),
        migrations.AlterField("ratelimit", "host", HostPatternField()),
    ]
