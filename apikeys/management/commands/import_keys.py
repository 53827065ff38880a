"""manage.py import_keys FILE [--dry-run]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from apikeys.tools.key_cells import FileError
from apikeys.tools.key_import import KeyPlan, PlanChanged, plan_keys, save_keys
from config.base.commands import read_file
from config.base.text import counted

# A million keys.
MAX_FILE_SIZE = 250 * 2**20


class Command(BaseCommand):
    help = (
        "Import API keys from a CSV file with the hashes of another key store (docs/moving-in.md). Clients keep their "
        "secrets. Imports all keys or, if a line is wrong, none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="The CSV file, in UTF-8; - reads standard input.")
        parser.add_argument("--dry-run", action="store_true", help="Check every line without importing anything.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            plan = plan_keys(read_file(options["file"], MAX_FILE_SIZE), self.show_progress)
        except FileError as error:
            raise CommandError(f"{error} Nothing was imported.") from None
        if plan.problems:
            self.stdout.writelines(f"{problem}\n" for problem in plan.problems)
            raise CommandError(f"{counted(len(plan.problems), 'problem')} found. Nothing was imported.")
        self.tell(plan)
        keys = counted(len(plan.drafts), "key")
        users = counted(len({draft.key.user_id for draft in plan.drafts}), "user")
        if options["dry_run"]:
            self.stdout.write(f"{keys} of {users} can be imported. Nothing was changed.")
            return
        try:
            save_keys(plan)
        except PlanChanged as error:
            raise CommandError(f"{error} Nothing was imported.") from None
        except IntegrityError:
            raise CommandError("Another import has just added one of these keys. Nothing was imported.") from None
        self.stdout.write(f"Imported {keys} of {users}.")

    def tell(self, plan: KeyPlan) -> None:
        for flat, path in sorted(plan.paths.items()):
            self.stdout.write(
                f"{flat} is read as the path {path}. Underscores in a segment can't be told from slashes."
            )
        for role, count in sorted(plan.roles.items()):
            self.stdout.write(
                f"The role “{role}” of {counted(count, 'key')} isn't imported. Its permissions aren't either."
            )
        idle = sum(not draft.permissions for draft in plan.drafts)
        if idle:
            self.stdout.write(f"{counted(idle, 'key')} without permissions can't do anything until you edit them.")

    def show_progress(self, done: int) -> None:
        self.stdout.write(f"{done:,} lines read.")
