"""manage.py notify_expiring_keys: run it once a day, or more often."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apikeys.expiry_notices import due_notices, send
from config.base.text import counted


class Command(BaseCommand):
    help = (
        "Mail the holder and KEY_EXPIRY_TEAM_EMAIL 30, 14, 7 and 1 days before a key expires, once each. It can be stopped "
        "and run again at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say who would be told, and send nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        sent, failed = 0, 0
        for key, days in due_notices():
            line = f"{key.user}: {key.name} expires {key.expires_at:%Y-%m-%d %H:%M} UTC"
            if options["dry_run"]:
                self.stdout.write(f"would tell {line}")
                continue
            try:
                told = send(key, days)
            except OSError as error:
                failed += 1
                self.stderr.write(f"could not tell {line}: {error}")
                continue
            sent += told
            self.stdout.write(f"told {line}" if told else f"told by another run: {line}")
        self.stdout.write(f"{counted(sent, 'notice')} sent.")
        if failed:
            raise CommandError(f"{counted(failed, 'notice')} could not be sent. Run the command again.")
