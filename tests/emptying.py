"""Empty the database after a test that committed, in milliseconds: Django's flush takes up to a second.

Django truncates every table, and creates all content types and permissions anew. Here those stay, and rows are deleted where
there are any.
"""

from __future__ import annotations

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import TransactionTestCase

flush = TransactionTestCase._fixture_teardown
KEPT = (ContentType, Permission)
after_flush = []  # the ids of their rows


def replace_flush():
    TransactionTestCase._fixture_teardown = empty_database


def empty_database(test_case):
    ContentType.objects.clear_cache()  # after migrations, content types have other ids
    if not after_flush or after_flush != kept():
        flush(test_case)
        after_flush[:] = kept()
    # Deleting events notes their hours in another table, by a trigger: a second round empties that, too.
    while tables := filled():
        with transaction.atomic(), connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def kept():
    return [list(model._base_manager.order_by("pk").values_list("pk", flat=True)) for model in KEPT]


def filled():
    """The tables that have rows."""
    models = [
        model for model in apps.get_models(include_auto_created=True) if model._meta.managed and model not in KEPT
    ]
    tables = sorted({model._meta.db_table for model in models})
    with connection.cursor() as cursor:
        has_rows = (f"EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables)
        cursor.execute(f"SELECT {', '.join(has_rows)}")
        return [table for table, found in zip(tables, cursor.fetchone(), strict=True) if found]
