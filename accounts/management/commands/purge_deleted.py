"""manage.py purge_deleted: remove for good what was deleted long enough ago."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import ForeignKey
from django.utils import timezone

from accounts.erasure import purge, purgeable
from accounts.models import User
from config.base.models import SoftDeleteModel

BATCH = 500
LONGEST = 36_500


class Command(BaseCommand):
    help = (
        "Remove for good the accounts, keys, limits and tiers that were deleted more than N days ago. Says what it would "
        "do unless --yes is given. Where the history still names an account, an erased stub of it stays. It can be "
        "stopped at any time and run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="Only what was deleted longer ago than this (90).")
        parser.add_argument("--yes", action="store_true", help="Do it. Without this, only count.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["days"] <= LONGEST:
            raise CommandError(f"--days must be 0 to {LONGEST}.")
        before = timezone.now() - timedelta(days=options["days"])
        for model in in_dependency_order():
            rows: Any = model._default_manager.filter(deleted_at__lt=before)
            rows = purgeable(rows) if model is User else rows
            name = str(model._meta.verbose_name_plural)
            if options["yes"]:
                self.purge(name, model, rows)
            else:
                self.stdout.write(f"{name}: {rows.count()} would be removed")
        if not options["yes"]:
            self.stdout.write("Nothing was removed. Add --yes to do it.")

    def purge(self, name: str, model: type[SoftDeleteModel], rows: Any) -> None:
        removed, kept = 0, 0
        total = rows.count()
        for pks in batches(rows):
            gone = purge_batch(model, pks)
            removed, kept = removed + gone, kept + len(pks) - gone
            self.stdout.write(f"{name}: {removed + kept} of {total}")
        reason = "in use, or kept as an erased stub"
        self.stdout.write(f"{name}: {removed} removed" + (f", {kept} stay ({reason})" if kept else ""))


def in_dependency_order() -> list[type[SoftDeleteModel]]:
    """The models that soft-delete, those that refer to others before those that are referred to."""
    waiting = [model for model in apps.get_models() if issubclass(model, SoftDeleteModel)]
    ordered: list[type[SoftDeleteModel]] = []
    while waiting:
        needed = {
            field.related_model
            for model in waiting
            for field in model._meta.concrete_fields
            if isinstance(field, ForeignKey) and field.related_model is not model
        }
        free = [model for model in waiting if model not in needed]
        ordered += free
        waiting = [model for model in waiting if model in needed]
    return ordered


def batches(rows: Any) -> Iterator[list[Any]]:
    """The keys of `rows` by and by: each batch is read after the one before it is gone, in the order of the keys."""
    last = None
    while True:
        ahead = rows.order_by("pk") if last is None else rows.filter(pk__gt=last).order_by("pk")
        pks = list(ahead.values_list("pk", flat=True)[:BATCH])
        if not pks:
            return
        yield pks
        last = pks[-1]


def purge_batch(model: type[SoftDeleteModel], pks: list[Any]) -> int:
    """Remove the rows; how many are gone. A row that is in use stays, without keeping the others."""
    rows: Any = model._default_manager.filter(pk__in=pks)
    if model is User:
        return sum(purge(user) for user in rows)
    return sum(removed(row) for row in rows)


def removed(row: SoftDeleteModel) -> bool:
    try:
        row.hard_delete()
    except ValidationError:
        return False
    return True
