"""manage.py apply_plans FILE [--dry-run] [--prune] [--author USERNAME]"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.base.commands import find_user, read_file
from config.base.documents import InvalidDocument
from config.base.history import Author
from config.base.text import counted
from ratelimits.plans.files import Problems
from ratelimits.plans.services import apply_plans

VIA = "manage.py apply_plans"
MAX_FILE_SIZE = 10 * 2**20


class Command(BaseCommand):
    help = (
        "Make tiers, their key policy, access and rate limits equal to a YAML file from export_plans, and print the "
        "differences. Changes nothing if anything in the file is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="The YAML file; - reads standard input.")
        parser.add_argument("--dry-run", action="store_true", help="Only print the differences.")
        parser.add_argument(
            "--prune", action="store_true", help="Delete tiers and rate limits that aren't in the file."
        )
        parser.add_argument(
            "--author", metavar="USERNAME", help="Who the history names. By default, the first superuser."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        author = find_author(options["author"])
        try:
            content = read_file(options["file"], MAX_FILE_SIZE)
            result = apply_plans(content, author, prune=options["prune"], dry_run=options["dry_run"])
        except (InvalidDocument, Problems) as error:
            raise CommandError(f"{error}\nNothing was changed.") from None
        for what in result.kept:
            self.stdout.write(f"  {what} isn't in the file. Add --prune to delete it.")
        for difference in result.differences:
            self.stdout.write(difference)
        count = len(result.differences)
        if not count:
            self.stdout.write("No differences.")
        elif options["dry_run"]:
            self.stdout.write(f"{counted(count, 'difference')}. Nothing was changed.")
        else:
            self.stdout.write(f"{counted(count, 'change')} made.")


def find_author(username: str | None) -> Author | None:
    """None without users: then there is nobody whom the history could name."""
    if username is not None:
        return Author(find_user(username), via=VIA)
    users: Any = get_user_model()._default_manager
    user = users.superusers().order_by("pk").first()
    return Author(user, via=VIA) if user else None
