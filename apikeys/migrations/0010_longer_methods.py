"""Room for every registered method, such as VERSION-CONTROL.

SQLite does not enforce the length, and would lose the triggers of migration 0003 if Django made the table anew.
"""

from django.db import migrations, models

TABLES = ("key_usage", "key_usage_endpoint_hours")


def alter(schema_editor, clause):
    if schema_editor.connection.vendor == "postgresql":
        for table in TABLES:
            schema_editor.execute(f"ALTER TABLE {table} ALTER COLUMN method TYPE {clause}")


def lengthen(apps, schema_editor):
    # Without USING, PostgreSQL changes its catalogue only, not the rows.
    alter(schema_editor, "varchar(32)")


def shorten(apps, schema_editor):
    alter(schema_editor, "varchar(10) USING left(method, 10)")


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0009_fill_folded_names")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(lengthen, shorten)],
            state_operations=[
                migrations.AlterField(
                    model_name=name, name="method", field=models.CharField(max_length=32)
                )
                for name in ("keyusage", "endpointhour")
            ],
        )
    ]
