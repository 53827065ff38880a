from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apikeys.tools import demo


class Command(BaseCommand):
    help = "Create sample users, tiers, rate limits, API keys, their history, and three months of usage. Safe to run again."

    def handle(self, *args: Any, **options: Any) -> None:
        for kind, number in demo.fill().items():
            self.stdout.write(f"Created {number:,} {kind}.")
