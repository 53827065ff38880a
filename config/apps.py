"""The admin's app configuration, which also sets up the project at startup."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin.apps import AdminConfig
from django.core import validators
from django.core.signals import request_finished, request_started
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate

from config.base.database import drop_read_only_connection, limit_idle_transactions


class GatehouseAdminConfig(AdminConfig):
    default_site = "config.staff.admin_site.GatehouseAdminSite"

    def ready(self) -> None:
        super().ready()
        reword_validators()
        from config import checks  # noqa: F401, PLC0415  (system checks register themselves when apps are ready)

        for signal in (request_started, request_finished):
            signal.connect(drop_read_only_connection, dispatch_uid="drop_read_only_connection")
        connection_created.connect(limit_idle_transactions, dispatch_uid="limit_idle_transactions")
        pre_migrate.connect(limit_lock_waits, dispatch_uid="limit_lock_waits")
        post_migrate.connect(lift_lock_limit, dispatch_uid="lift_lock_limit")


def reword_validators() -> None:
    """Say what to enter, where Django says what to ensure.

    On the classes, because fields of models and forms, also Django's and allauth's, create these validators themselves.
    """
    validators.MinValueValidator.message = "Enter %(limit_value)s or more."
    validators.MaxValueValidator.message = "Enter %(limit_value)s or less."
    validators.MinLengthValidator.message = "Enter at least %(limit_value)d characters."
    validators.MaxLengthValidator.message = "Use at most %(limit_value)d characters. This has %(show_value)d."


def limit_lock_waits(using: str, **kwargs: Any) -> None:
    """Make migrations fail soon instead of waiting for a long transaction while all readers wait for them."""
    set_lock_timeout(using, settings.MIGRATE_LOCK_TIMEOUT)


def lift_lock_limit(using: str, **kwargs: Any) -> None:
    set_lock_timeout(using, "0")


def set_lock_timeout(using: str, value: str) -> None:
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [value])
