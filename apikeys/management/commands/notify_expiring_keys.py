from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apikeys.expiry_notices import due_notices, send
from config.base.text import counted


class Command(BaseCommand):
    help = (
        "Email the owner of a key and KEY_EXPIRY_TEAM_EMAIL 30, 14, 7 and 1 days before it expires. Run it at least daily. "
        "You can stop it and run it again at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Show which notices would be sent, without sending them."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sent, failed = 0, 0
        for key, days in due_notices():
            line = f"{key.user}: {key.name} expires {key.expires_at:%Y-%m-%d %H:%M} UTC"
            if options["dry_run"]:
                self.stdout.write(f"Would notify {line}")
                continue
            try:
                was_sent = send(key, days)
            except OSError as error:
                failed += 1
                self.stderr.write(f"Couldn't notify {line}: {error}")
                continue
            sent += was_sent
            self.stdout.write(f"Notified {line}" if was_sent else f"Another run notified {line}")
        self.stdout.write(f"Sent {counted(sent, 'notice')}.")
        if failed:
            raise CommandError(f"{counted(failed, 'notice')} couldn't be sent. Run the command again.")
