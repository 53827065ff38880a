"""manage.py fold_usage: add the ledger up by the hour, so that pages stay quick. Run it every few minutes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apikeys.usage.rollups import fold, silent
from config.base.text import counted


class Command(BaseCommand):
    help = "Add up the usage of each hour that has ended. It can be stopped and run again at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        folded = fold(self.stdout.write if options["verbosity"] > 1 else silent)
        self.stdout.write(f"{counted(folded, 'hour')} folded.")
