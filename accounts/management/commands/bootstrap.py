from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.management.bootstrap import BootstrapError, bootstrap


class Command(BaseCommand):
    help = "Create what a new installation needs: the default tier, the staff groups and the first superuser. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            created = bootstrap()
        except BootstrapError as error:
            raise CommandError(str(error)) from error
        if created.tier:
            self.stdout.write(f'Created tier "{created.tier}".')
        for group in created.groups:
            self.stdout.write(f'Created group "{group}".')
        if created.username:
            self.stdout.write(self.style.SUCCESS(f'Created superuser "{created.username}".'))
        if created.password:
            self.stdout.write(self.style.WARNING(f"Password (shown only once): {created.password}"))
