"""Let a hit give up on a counter that others hold: whoever asked then waits his turn, or does without, as he sees fit."""

from __future__ import annotations

from django.db import migrations

# In force while the function runs, and for nothing else on the connection. Two such waits and their errors fit into the
# 60 ms that a store may take: one in the statement of apikeys/ledger.py, one on the limiter's own connection.
SET = "ALTER FUNCTION rate_limit_hit SET lock_timeout = '15ms'"
RESET = "ALTER FUNCTION rate_limit_hit RESET lock_timeout"


def on_postgresql(statement):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0003_refusals_outages")]

    operations = [migrations.RunPython(on_postgresql(SET), on_postgresql(RESET))]
