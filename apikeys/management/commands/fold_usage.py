from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apikeys.usage.rollups import fold, no_progress
from config.base.text import counted


class Command(BaseCommand):
    help = "Add up usage by the hour, so that usage pages stay fast. Run it every few minutes. You can stop it at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        folded = fold(self.stdout.write if options["verbosity"] > 1 else no_progress)
        self.stdout.write(f"Folded {counted(folded, 'hour')}.")
