"""Charge and record any number of requests in one call. The procedure of migration 0005 took one."""

from __future__ import annotations

from importlib import import_module

from django.db import migrations

# rate_limit_charge (ratelimits/migrations/0008) explains keys, shorts, ends and terms, and commits: the counters are free
# before the rows wait for the disk. rules: of each budget. statuses: 0 where the budgets decide. The rows are inserted at
# once or, if that fails, one by one, so that one that can't be written fails alone.
#
# answer: as of rate_limit_charge, followed by the numbers of the requests whose row couldn't be written. If none could, the
# error is raised.
PROCEDURE = """
CREATE PROCEDURE key_usage_settle(
    INOUT answer bigint[], keys text[], shorts int, ends int[], terms bigint[], rules bigint[],
    ids uuid[], api_keys uuid[], users bigint[], statuses int[], reasons text[],
    endpoints text[], methods text[], addresses text[], agents text[]
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
            (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent)
        SELECT id, api_key, user_id, rule, endpoint, method, status, reason, address::inet, agent
        FROM unnest(ids, api_keys, users, deciding, endpoints, methods, statuses, reasons, addresses, agents)
            AS rows (id, api_key, user_id, rule, endpoint, method, status, reason, address, agent);
    EXCEPTION WHEN OTHERS THEN
        FOR i IN 1..n LOOP
            BEGIN
                INSERT INTO key_usage
                    (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent)
                VALUES (
                    ids[i], api_keys[i], users[i], deciding[i], endpoints[i], methods[i], statuses[i], reasons[i],
                    addresses[i]::inet, agents[i]
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
        schema_editor.execute(import_module("apikeys.migrations.0005_settle_procedure").PROCEDURE, params=None)


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0010_longer_methods"), ("ratelimits", "0008_charge_procedure")]

    operations = [migrations.RunPython(replace, put_back)]
