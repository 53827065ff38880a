"""A fast replacement for Django's flush after tests that commit, which takes up to a second.

Django truncates every table, and creates all content types and permissions again. This keeps them, and only deletes from
tables that have rows.
"""

from __future__ import annotations

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import TransactionTestCase

flush = TransactionTestCase._fixture_teardown
KEPT = (ContentType, Permission)
after_flush = []  # their primary keys


def replace_flush():
    TransactionTestCase._fixture_teardown = empty_database


def empty_database(test_case):
    ContentType.objects.clear_cache()  # content types have other IDs after migrations
    if not after_flush or after_flush != kept_ids():
        flush(test_case)
        after_flush[:] = kept_ids()
    # A trigger inserts rows into another table when usage events are deleted, so repeat until all are empty.
    while tables := tables_with_rows():
        with transaction.atomic(), connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def kept_ids():
    return [list(model._base_manager.order_by("pk").values_list("pk", flat=True)) for model in KEPT]


def tables_with_rows():
    """Tables with rows."""
    models = [
        model for model in apps.get_models(include_auto_created=True) if model._meta.managed and model not in KEPT
    ]
    tables = sorted({model._meta.db_table for model in models})
    with connection.cursor() as cursor:
        has_rows = (f"EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables)
        cursor.execute(f"SELECT {', '.join(has_rows)}")
        return [table for table, found in zip(tables, cursor.fetchone(), strict=True) if found]
