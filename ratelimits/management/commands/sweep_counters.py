"""manage.py sweep_counters: remove the counters that say nothing any more. Run it by cron, or leave it to the hits."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ratelimits.limiter import limiter
from ratelimits.register import prune
from ratelimits.stores import StoreUnavailable


class Command(BaseCommand):
    help = "Remove dead rate limit counters and old notes of refusals, in batches. Can be stopped and run again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--batch", type=int, default=1000, help="Counters looked at in one go (default 1000).")

    def handle(self, *args: Any, **options: Any) -> None:
        batch = options["batch"]
        if batch < 1:
            raise CommandError("--batch must be 1 or more.")
        try:
            removed = self.sweep(batch)
        except StoreUnavailable as error:
            raise CommandError(f"The counters could not be swept: {error}") from error
        noted = prune()
        self.stdout.write(f"Removed {removed:,} dead counters and {noted:,} old notes.")

    def sweep(self, batch: int) -> int:
        store = limiter().store
        removed, looked_at, held = 0, 0, store.count()
        while looked_at < held:
            removed += store.sweep(batch=batch)
            looked_at += batch
            if self.verbose(looked_at // batch):
                self.stdout.write(f"{min(looked_at, held):,} of {held:,} counters looked at, {removed:,} removed.")
        return removed

    @staticmethod
    def verbose(batches: int) -> bool:
        return batches % 100 == 0
