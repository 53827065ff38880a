from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import ForeignKey
from django.utils import timezone

from accounts.erasure import purge, purgeable
from accounts.models import User
from config.base.models import SoftDeleteModel, lock_deleted
from ratelimits.budgets import rule_key
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.rules import owner_of_user
from ratelimits.stores import StoreUnavailable

BATCH = 500
MAX_DAYS = 36_500


class Command(BaseCommand):
    help = (
        "Permanently remove users, keys, rate limits and tiers that were deleted more than N days ago. Without --yes, only "
        "count them. Users who made changes are erased instead. You can stop it and run it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=int, default=90, help="Keep what was deleted in the last N days (default: 90)."
        )
        parser.add_argument("--yes", action="store_true", help="Remove the rows instead of counting them.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["days"] <= MAX_DAYS:
            raise CommandError(f"--days must be a number from 0 to {MAX_DAYS:,}.")
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
            self.stdout.write("Nothing was removed. Add --yes to remove them.")

    def purge(self, name: str, model: type[SoftDeleteModel], rows: Any) -> None:
        removed, kept = 0, 0
        total = rows.count()
        for pks in batches(rows):
            count = purge_batch(rows, pks)
            removed, kept = removed + count, kept + len(pks) - count
            self.stdout.write(f"{name}: {removed + kept} of {total}")
        reason = (
            "erased because the history has entries of theirs, or restored" if model is User else "in use or restored"
        )
        self.stdout.write(f"{name}: {removed} removed" + (f", {kept} kept ({reason})" if kept else ""))


def in_dependency_order() -> list[type[SoftDeleteModel]]:
    """The models with soft delete, each before those that it refers to."""
    waiting = [model for model in apps.get_models() if issubclass(model, SoftDeleteModel)]
    ordered: list[type[SoftDeleteModel]] = []
    while waiting:
        referred_to = {
            field.related_model
            for model in waiting
            for field in model._meta.concrete_fields
            if isinstance(field, ForeignKey) and field.related_model is not model
        }
        ordered += [model for model in waiting if model not in referred_to]
        waiting = [model for model in waiting if model in referred_to]
    return ordered


def batches(rows: Any) -> Iterator[list[Any]]:
    """The primary keys of `rows`, in order. Each batch is read after the previous one was removed."""
    last = None
    while True:
        ahead = rows.order_by("pk") if last is None else rows.filter(pk__gt=last).order_by("pk")
        pks = list(ahead.values_list("pk", flat=True)[:BATCH])
        if not pks:
            return
        yield pks
        last = pks[-1]


def purge_batch(rows: Any, pks: list[Any]) -> int:
    model = rows.model
    totals = totals_among(model, pks)
    removed = sum(map(purge if model is User else hard_delete, rows.filter(pk__in=pks)))
    forget_totals(totals)
    return removed


def totals_among(model: type[SoftDeleteModel], pks: list[Any]) -> dict[int, str]:
    """The keys of the counters of prepaid limits among these rows. They never expire, so sweeping doesn't remove them."""
    fields: dict[Any, str] = {User: "user__in", RateLimit: "pk__in"}
    field = fields.get(model)
    totals = RateLimit.objects.filter(window=RateLimit.Window.TOTAL, **{field: pks}) if field else ()
    return {limit.pk: rule_key(owner_of_user(limit.user_id), limit.pk) for limit in totals}


def forget_totals(keys: dict[int, str]) -> None:
    kept = set(RateLimit.objects.filter(pk__in=keys).values_list("pk", flat=True))
    with suppress(StoreUnavailable):  # leftovers only take up a little space
        limiter().reset([key for pk, key in keys.items() if pk not in kept])


@transaction.atomic
def hard_delete(row: SoftDeleteModel) -> bool:
    """Returns whether it was removed. One that was restored since it was loaded is left alone."""
    if not lock_deleted(row):
        return False
    try:
        row.hard_delete()
    except ValidationError:
        return False
    return True
