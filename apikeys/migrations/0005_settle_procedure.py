"""Charge and record in one call, on PostgreSQL: one exchange instead of two, and no counter is held while the disk works."""

from __future__ import annotations

from django.db import migrations

# The COMMIT in the middle gives the counters free before the usage row waits for the disk: without it, requests on one
# budget would go one disk flush at a time. The arguments of rate_limit_hit stand in ratelimits/migrations/0005.
# rule: the first that applied. rules: of each budget, to name the one that refused. Answers as rate_limit_hit does.
PROCEDURE = """
CREATE PROCEDURE key_usage_settle(
    INOUT answer bigint[], keys text[], terms bigint[], id uuid, api_key_id uuid, user_id bigint, rule bigint, rules bigint[],
    endpoint text, method text, ip_address inet, user_agent text
) LANGUAGE plpgsql AS $$
DECLARE
    status int := 200;
    reason text := '';
BEGIN
    answer := rate_limit_hit(keys, terms, NULL);
    COMMIT;
    IF answer[1] = 0 THEN
        status := 429;
        reason := 'rate_limited';
        FOR i IN 1..cardinality(keys) LOOP
            rule := rules[i];
            EXIT WHEN answer[4 * i - 1] = 0 AND terms[5 * i] = 0;
        END LOOP;
    END IF;
    INSERT INTO key_usage
        (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent)
    VALUES (id, api_key_id, user_id, rule, endpoint, method, status, reason, ip_address, user_agent);
END $$;
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(PROCEDURE, params=None)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP PROCEDURE key_usage_settle")


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0004_expiry_notices"), ("ratelimits", "0005_flat_hit")]

    operations = [migrations.RunPython(create, drop)]
