from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.base.text import counted
from ratelimits.limiter import limiter
from ratelimits.recorder import prune
from ratelimits.stores import StoreUnavailable
from ratelimits.stores.balances import sweep_balances


class Command(BaseCommand):
    help = "Remove expired rate limit counters and old records of denials, in batches. You can stop it and run it again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch", type=int, default=1000, help="Number of counters to check at a time (default: 1000)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        batch = options["batch"]
        if batch < 1:
            raise CommandError("--batch must be 1 or more.")
        try:
            removed = self.sweep(batch)
        except StoreUnavailable as error:
            raise CommandError(f"Couldn't sweep the counters: {error}") from error
        self.stdout.write(f"Removed {counted(removed, 'expired counter')} and {counted(prune(), 'old record')}.")

    def sweep(self, batch: int) -> int:
        store = limiter().store
        removed, checked, total = 0, 0, store.count()
        while checked < total:
            removed += store.sweep(batch=batch)
            checked += batch
            if checked // batch % 100 == 0:
                self.stdout.write(f"Checked {min(checked, total):,} of {total:,} counters, removed {removed:,}.")
        return removed + sweep_balances()
