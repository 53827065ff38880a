"""manage.py prune_usage [--days N] [--dry-run] [--without-totals]"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.usage.rollups import prune
from config.base.text import counted

LONGEST_RETENTION = 36_500


class Command(BaseCommand):
    help = "Remove old usage events in batches. Their hourly totals stay. It can be stopped and run again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="keep the events of the last DAYS days (default: 90)")
        parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
        parser.add_argument("--without-totals", action="store_true", help="remove the hourly totals of that time too")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["days"] <= LONGEST_RETENTION:
            raise CommandError(f"Give --days a number from 1 to {LONGEST_RETENTION:,}.")
        # From midnight on: a day is in the ledger whole or not at all.
        before = datetime.combine(timezone.now().date(), time(), UTC) - timedelta(days=options["days"])
        if options["dry_run"]:
            count = KeyUsage.objects.filter(created_at__lt=before).count()
            self.stdout.write(f"{counted(count, 'event')} from before {before:%Y-%m-%d} would be removed.")
            return
        removed = prune(before, self.stdout.write, keep_totals=not options["without_totals"])
        self.stdout.write(f"{counted(removed, 'event')} from before {before:%Y-%m-%d} removed.")
