"""The host of permissions and of usage events, and the procedure of migration 0011 with it."""

from __future__ import annotations

from importlib import import_module

from django.db import migrations, models

import config.base.hosts

# Written by hand: to add a column that can't be null, Django would make SQLite's table anew, and lose its triggers.
ADD_HOST = "ALTER TABLE key_usage ADD COLUMN host varchar(253) DEFAULT '' NOT NULL"
DROP_HOST = "ALTER TABLE key_usage DROP COLUMN host"
PROCEDURE = """
CREATE PROCEDURE key_usage_settle(
    INOUT answer bigint[], keys text[], shorts int, ends int[], terms bigint[], rules bigint[],
    ids uuid[], api_keys uuid[], users bigint[], statuses int[], reasons text[],
    endpoints text[], methods text[], addresses text[], agents text[], hosts text[]
) LANGUAGE plpgsql AS $$
DECLARE
    n CONSTANT int := cardinality(ids);
    deciding bigint[] := array_fill(NULL::bigint, ARRAY[n]);
    unwritten bigint[] := '{}';
    place int := 1;
    first int := 1;
BEGIN
    CALL rate_limit_charge(answer, keys, shorts, ends, terms, NULL);
    FOR i IN 1..n LOOP
        place := place + 1;
        IF statuses[i] = 0 THEN
            statuses[i] := CASE answer[place] WHEN 1 THEN 200 ELSE 429 END;
            reasons[i] := CASE answer[place] WHEN 1 THEN '' ELSE 'rate_limited' END;
            FOR b IN first..ends[i] LOOP
                IF statuses[i] = 200 THEN
                    deciding[i] := rules[b];
                    EXIT WHEN rules[b] IS NOT NULL;
                ELSIF answer[place + 1 + 4 * (b - first)] = 0 AND terms[6 * b] = 0 THEN
                    deciding[i] := rules[b];
                    EXIT;
                END IF;
            END LOOP;
        END IF;
        place := place + 4 * (ends[i] - first + 1);
        first := ends[i] + 1;
    END LOOP;
    BEGIN
        INSERT INTO key_usage
            (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent, host)
        SELECT id, api_key, user_id, rule, endpoint, method, status, reason, address::inet, agent, host
        FROM unnest(ids, api_keys, users, deciding, endpoints, methods, statuses, reasons, addresses, agents, hosts)
            AS rows (id, api_key, user_id, rule, endpoint, method, status, reason, address, agent, host);
    EXCEPTION WHEN OTHERS THEN
        FOR i IN 1..n LOOP
            BEGIN
                INSERT INTO key_usage
                    (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent, host)
                VALUES (
                    ids[i], api_keys[i], users[i], deciding[i], endpoints[i], methods[i], statuses[i], reasons[i],
                    addresses[i]::inet, agents[i], hosts[i]
                );
            EXCEPTION WHEN OTHERS THEN
                unwritten := unwritten || i::bigint;
            END;
        END LOOP;
        IF cardinality(unwritten) = n THEN
            RAISE;
        END IF;
    END;
    answer := answer || unwritten;
END $$;
"""


def replace(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP PROCEDURE key_usage_settle")
        schema_editor.execute(PROCEDURE, params=None)


def put_back(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP PROCEDURE key_usage_settle")
        schema_editor.execute(import_module("apikeys.migrations.0011_settle_many").PROCEDURE, params=None)


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0012_texts")]

    operations = [
        migrations.RunSQL(
            ADD_HOST,
            DROP_HOST,
            state_operations=[
                migrations.AddField(
                    "keyusage", "host", models.CharField(blank=True, db_default="", default="", max_length=253)
                )
            ],
        ),
        migrations.RunPython(replace, put_back),
        migrations.RemoveConstraint("keypermission", "key_permissions_unique"),
        migrations.AddField(
            "keypermission",
            "host",
            config.base.hosts.HostPatternField(
                blank=True,
                db_default="",
                default="",
                help_text="For example api.example.com or *.example.com. Leave empty for any host.",
                max_length=255,
            ),
        ),
        migrations.AddConstraint(
            "keypermission",
            models.UniqueConstraint(
                fields=("api_key", "host", "resource", "action"),
                name="key_permissions_unique",
                violation_error_message="The key already has this permission.",
            ),
        ),
        migrations.AlterModelOptions(
            "keypermission", {"ordering": ("host", "resource", "action"), "verbose_name": "permission"}
        ),
    ]
