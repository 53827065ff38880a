"""manage.py prune_usage [--days N] [--dry-run] [--without-totals] [--whole-months]"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.usage.partitions import PartitionError, ended_before
from apikeys.usage.rollups import prune
from config.base.text import counted

MAX_DAYS = 36_500


class Command(BaseCommand):
    help = "Remove old usage events but keep their hourly totals. You can stop it and run it again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="Keep the events of the last DAYS days (default: 90).")
        parser.add_argument(
            "--dry-run", action="store_true", help="Show how many events would be removed, without removing them."
        )
        parser.add_argument("--without-totals", action="store_true", help="Also remove the hourly totals.")
        parser.add_argument(
            "--whole-months",
            action="store_true",
            help="Only drop months that are older as a whole, at once, however many events they have (PostgreSQL).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["days"] <= MAX_DAYS:
            raise CommandError(f"--days must be a number from 1 to {MAX_DAYS:,}.")
        if options["whole_months"] and connection.vendor != "postgresql":
            raise CommandError("--whole-months needs PostgreSQL: only there, usage is partitioned by month.")
        # Remove whole days only.
        before = datetime.combine(timezone.now().date(), time(), UTC) - timedelta(days=options["days"])
        if options["dry_run"]:
            self.stdout.write(would_remove(before, whole_months=options["whole_months"]))
            return
        try:
            removed = prune(
                before,
                self.stdout.write,
                keep_totals=not options["without_totals"],
                whole_months=options["whole_months"],
            )
        except PartitionError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Removed {counted(removed, 'event')} from before {before:%Y-%m-%d}.")


def would_remove(before: datetime, *, whole_months: bool) -> str:
    if whole_months:
        return f"Would drop {', '.join(partition.name for partition in ended_before(before)) or 'no month'}."
    count = KeyUsage.objects.filter(created_at__lt=before).count()
    return f"Would remove {counted(count, 'event')} from before {before:%Y-%m-%d}."
