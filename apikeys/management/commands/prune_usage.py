"""manage.py prune_usage [--days N] [--dry-run] [--without-totals]"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apikeys.models import KeyUsage
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

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["days"] <= MAX_DAYS:
            raise CommandError(f"--days must be a number from 1 to {MAX_DAYS:,}.")
        # Remove whole days only.
        before = datetime.combine(timezone.now().date(), time(), UTC) - timedelta(days=options["days"])
        if options["dry_run"]:
            count = KeyUsage.objects.filter(created_at__lt=before).count()
            self.stdout.write(f"Would remove {counted(count, 'event')} from before {before:%Y-%m-%d}.")
            return
        removed = prune(before, self.stdout.write, keep_totals=not options["without_totals"])
        self.stdout.write(f"Removed {counted(removed, 'event')} from before {before:%Y-%m-%d}.")
