"""manage.py partition_usage [--patience MS]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from apikeys.usage.partitions import PATIENCE_MS, PartitionError, create_ahead

MAX_PATIENCE_MS = 3_600_000


class Command(BaseCommand):
    help = "Create the partitions of usage events for this month and the next ones (PostgreSQL). Decisions continue."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--patience",
            type=int,
            default=PATIENCE_MS,
            metavar="MS",
            help=f"How long a decision may have to wait, in milliseconds (default: {PATIENCE_MS}).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["patience"] <= MAX_PATIENCE_MS:
            raise CommandError(f"--patience must be a number from 1 to {MAX_PATIENCE_MS:,}.")
        if connection.vendor != "postgresql":
            self.stdout.write("SQLite has no partitions. There's nothing to do.")
            return
        try:
            created = create_ahead(options["patience"])
        except PartitionError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Created {', '.join(created) or 'nothing: there are enough partitions'}.")
