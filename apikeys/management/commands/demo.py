from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apikeys.tools import demo


class Command(BaseCommand):
    help = "Fill in sample accounts, tiers, limits, keys and a month of usage, to look around in. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        for kind, number in demo.fill().items():
            self.stdout.write(f"{number:,} {kind} made")
