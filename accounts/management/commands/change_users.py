from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from accounts.models import BulkChange
from accounts.staff.bulk import work
from config.base.text import counted

# Seconds per run, so that other jobs get their turn.
MAX_SECONDS = 40


class Command(BaseCommand):
    help = (
        "Make changes to more than 10,000 users that staff have confirmed. You can stop it at any time, and it continues "
        "where it was."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        work(MAX_SECONDS, self.stdout.write)
        waiting = BulkChange.objects.unfinished().count()
        self.stdout.write(f"{counted(waiting, 'change')} left to make.")
