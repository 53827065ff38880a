"""Migrations: none is missing, all can be reversed, and waiting for locks is limited."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from config.apps import lift_lock_limit, limit_lock_waits


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_all_migrations_can_be_reversed():
    tables = set(connection.introspection.table_names())
    executor = MigrationExecutor(connection)
    executor.migrate([(app, None) for app in executor.loader.migrated_apps])
    remaining = {name for name in connection.introspection.table_names() if not name.startswith("sqlite_")} - {
        "django_migrations"
    }
    call_command("migrate", verbosity=0)
    assert remaining == set()
    assert set(connection.introspection.table_names()) == tables


@pytest.mark.django_db
@pytest.mark.postgresql
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no lock_timeout")
def test_migrations_limit_how_long_they_wait_for_a_lock():
    def lock_timeout():
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return cursor.fetchone()[0]

    limit_lock_waits(using="default")
    assert lock_timeout() == "500ms"
    lift_lock_limit(using="default")
    assert lock_timeout() == "0"


def test_tables_have_the_names_of_the_fastapi_starter():
    ours = {"tiers", "accounts", "ratelimits", "apikeys"}
    tables = {model._meta.db_table for model in apps.get_models() if model._meta.app_label in ours}
    assert {"user", "tiers", "rate_limits", "api_keys", "key_usage", "key_permissions"} <= tables
