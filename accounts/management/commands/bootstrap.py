from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.management.bootstrap import BootstrapRefused, bootstrap


class Command(BaseCommand):
    help = (
        "Make what a fresh installation needs: the default tier, the staff groups, the first superuser. Safe to repeat."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = bootstrap()
        except BootstrapRefused as refusal:
            raise CommandError(str(refusal)) from refusal
        if done.tier:
            self.stdout.write(f"Tier “{done.tier}” made.")
        for group in done.groups:
            self.stdout.write(f"Staff group “{group}” made.")
        if done.username:
            self.stdout.write(self.style.SUCCESS(f"First superuser “{done.username}” made."))
        if done.password:
            self.stdout.write(self.style.WARNING(f"Password, shown this once: {done.password}"))
