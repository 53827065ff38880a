"""Trigram indexes on PostgreSQL, so that staff find an account by any part of its address among 500,000.

They need the extension pg_trgm, which the owner of a database may create since PostgreSQL 13. Where it may not be
created the search works all the same, by reading the table.
"""

from django.db import DatabaseError, migrations, transaction

INDEXES = {
    "user_email_trigrams": "email gin_trgm_ops",
    "user_username_trigrams": "username gin_trgm_ops",
    "user_name_trigrams": "UPPER(name::text) gin_trgm_ops",
}


def create_indexes(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic(using=connection.alias):
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        return
    for name, expression in INDEXES.items():
        schema_editor.execute(f'CREATE INDEX IF NOT EXISTS {name} ON "user" USING gin ({expression})')


def drop_indexes(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_user_erased_at")]

    operations = [migrations.RunPython(create_indexes, drop_indexes, elidable=False)]
