from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from config.base.backups import BackupError, back_up
from config.base.text import counted


class Command(BaseCommand):
    help = (
        "Write the database, rate limit counters and pictures to a new directory, while Gatehouse runs. The backup doesn't "
        "include SECRET_KEY and API_KEY_PEPPERS: back them up separately."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "directory", nargs="?", help="A directory that doesn't exist (default: a new one in VAR_DIR)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        own = settings.VAR_DIR / "backups" / f"{timezone.now():%Y-%m-%dT%H%M%SZ}"
        target = Path(options["directory"] or own).absolute()
        try:
            manifest = back_up(target, var_dir=settings.VAR_DIR, media=settings.MEDIA_ROOT)
        except (BackupError, OSError) as error:
            raise CommandError(f"No backup was made. {error}") from error
        rows = sum(manifest["rows"].values())
        self.stdout.write(f"Backed up {counted(rows, 'row')} and {counted(len(manifest['files']), 'file')} to {target}")
