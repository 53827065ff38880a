"""manage.py export_plans [FILE]"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ratelimits.plans.files import export_plans


class Command(BaseCommand):
    help = "Write all tiers as YAML, with their key policy, access and rate limits, for apply_plans."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", default="-", help="The file to write; by default, standard output.")

    def handle(self, *args: Any, **options: Any) -> None:
        plans = export_plans()
        if options["file"] == "-":
            self.stdout.write(plans, ending="")
            return
        try:
            Path(options["file"]).write_text(plans, encoding="utf-8", newline="\n")
        except OSError as error:
            raise CommandError(f"Couldn't write {options['file']}: {error.strerror}.") from None
