"""One row for each host. Pages can read the sums while the indexes are built; only folding waits."""

from django.db import migrations, models

INDEX = """
CREATE UNIQUE INDEX key_usage_endpoint_hours_one_row
ON key_usage_endpoint_hours (hour, api_key_id, user_id, reason, method, endpoint, host)
"""
USE_INDEX = """
ALTER TABLE key_usage_endpoint_hours
ADD CONSTRAINT key_usage_endpoint_hours_one_row UNIQUE USING INDEX key_usage_endpoint_hours_one_row
"""


class AddOneRow(migrations.AddConstraint):
    """On PostgreSQL, from an index that exists: building it here would keep readers out meanwhile."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(USE_INDEX)
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)


def build_index(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(INDEX)


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0025_usage_by_host")]

    operations = [
        # The locks that keep readers out come last.
        migrations.RunPython(build_index, migrations.RunPython.noop),
        migrations.AddIndex(
            "endpointhour",
            models.Index(
                condition=models.Q(("host__isnull", True)), fields=["hour"], name="key_usage_endpoint_no_host"
            ),
        ),
        AddOneRow(
            "endpointhour",
            models.UniqueConstraint(
                fields=("hour", "api_key", "user", "reason", "method", "endpoint", "host"),
                name="key_usage_endpoint_hours_one_row",
            ),
        ),
        migrations.RemoveConstraint("endpointhour", "key_usage_endpoint_hours_unique"),
    ]
