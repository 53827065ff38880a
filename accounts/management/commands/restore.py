from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.base.backups import BackupError, restore
from config.base.text import counted


class Command(BaseCommand):
    help = (
        "Restore a backup made by manage.py backup. Stop Gatehouse first. If there is already data, nothing is restored "
        "unless you add --replace. Run manage.py migrate afterwards."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", help="The directory of the backup.")
        parser.add_argument("--replace", action="store_true", help="Replace the existing data, which is lost.")

    def handle(self, *args: Any, **options: Any) -> None:
        source = Path(options["directory"]).absolute()
        try:
            manifest = restore(source, var_dir=settings.VAR_DIR, media=settings.MEDIA_ROOT, replace=options["replace"])
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        rows = sum(manifest["rows"].values())
        self.stdout.write(f"Restored {counted(rows, 'row')} from {manifest['created_at']}. Now run manage.py migrate.")
