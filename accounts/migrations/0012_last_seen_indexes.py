from __future__ import annotations

from django.db import migrations

# For lists by last sign-in, in both directions, with those who never signed in at the end. SQLite knows no NULLS LAST in an
# index; it reads this one in both directions.
POSTGRESQL = (
    'CREATE INDEX user_last_seen ON "user" (last_login DESC NULLS LAST, id DESC)',
    'CREATE INDEX user_first_seen ON "user" (last_login ASC NULLS LAST, id ASC)',
)
SQLITE = ('CREATE INDEX user_last_seen ON "user" (last_login, id)',)
BACK = ("DROP INDEX IF EXISTS user_last_seen", "DROP INDEX IF EXISTS user_first_seen")


def create(apps, schema_editor):
    for statement in POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement)


def drop(apps, schema_editor):
    for statement in BACK:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0011_personal_settings")]
    operations = [migrations.RunPython(create, drop)]
