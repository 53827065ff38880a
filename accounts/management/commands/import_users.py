"""manage.py import_users FILE [--dry-run] [--column FIELD=HEADER]… [--encoding NAME] [--invite] [--host NAME]"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError
from django.http import HttpRequest

from accounts.staff.imports import FIELDS, USERS, Plan, import_users, make_plan, send_emails
from config.base.commands import read_file
from config.base.history import Author
from config.base.importable import Columns, InvalidRows
from config.base.site import SiteRequest, site_request
from config.base.tables import ENCODINGS, MAX_FILE_SIZE, Table, read_table
from config.base.text import counted

MAX_SHOWN = 50


class Command(BaseCommand):
    help = (
        "Create and change users from a CSV or XLSX file with a header. Users are found by their username; empty cells "
        "change nothing. If one row has an error, nothing is imported."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="The CSV or XLSX file; - reads standard input.")
        parser.add_argument("--dry-run", action="store_true", help="Only show what would be created and changed.")
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="FIELD=HEADER",
            help=f"Which column holds a field ({', '.join(FIELDS)}), if its header doesn't say so. Can be repeated.",
        )
        parser.add_argument(
            "--encoding", choices=[name for name, _ in ENCODINGS], default="utf-8", help="Of a CSV file."
        )
        parser.add_argument("--skip-invalid", action="store_true", help="Import the other rows if some have errors.")
        parser.add_argument("--invite", action="store_true", help="Email new users a link to set a password.")
        parser.add_argument(
            "--host", default="", help="The host name of this Gatehouse, for links in emails. Default: SITE_URL."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        table = read(options["file"], options["encoding"])
        columns = chosen_columns(table, options["column"])
        if options["dry_run"]:
            self.preview(table, columns, skip_invalid=options["skip_invalid"])
        else:
            request = request_to(options["host"])
            self.run_import(table, columns, request, skip_invalid=options["skip_invalid"], invite=options["invite"])

    def preview(self, table: Table, columns: Columns, *, skip_invalid: bool) -> None:
        plan = make_plan(table, columns, None)
        self.show(plan)
        self.stdout.write("Nothing was imported.")
        if plan.problems and not skip_invalid:
            raise CommandError(f"{counted(len(plan.invalid), 'row')} with errors.")

    def run_import(
        self, table: Table, columns: Columns, request: HttpRequest | None, *, skip_invalid: bool, invite: bool
    ) -> None:
        def accept(plan: Plan) -> None:
            if (count := plan.email_count(invite=invite)) and request is None:
                raise CommandError(
                    f"This import sends {counted(count, 'email')}: set SITE_URL or add --host for the links in them."
                )

        try:
            author = Author(None, via="manage.py import_users")
            plan = import_users(table, columns, author, skip_invalid=skip_invalid, accept=accept)
        except InvalidRows as error:
            self.show(error.plan)
            count = counted(len(error.plan.invalid), "row")
            raise CommandError(f"{count} with errors. Nothing was imported.") from error
        except (IntegrityError, ValidationError) as error:
            raise CommandError(
                "Someone else changed users at the same time. Nothing was imported. Try again."
            ) from error
        self.show(plan)
        if request is not None:
            send_emails(plan, request, invite=invite)

    def show(self, plan: Plan) -> None:
        for problem in plan.problems[:MAX_SHOWN]:
            self.stderr.write(f"row {problem.row}, {problem.column}: {problem.text}")
        if (more := len(plan.problems) - MAX_SHOWN) > 0:
            self.stderr.write(f"and {counted(more, 'other error')}")
        for line in plan.effective[:MAX_SHOWN]:
            values = ", ".join(f"{change['field']}: {change['old']} → {change['new']}" for change in line.changes)
            self.stdout.write(f"row {line.number}, {'create' if line.creates else 'change'} {line.user}: {values}")
        self.stdout.write(
            f"{counted(len(plan.created), 'user')} to create, {len(plan.changed)} to change, {len(plan.unchanged)} unchanged"
        )


def read(name: str, encoding: str) -> Table:
    try:
        return read_table(read_file(name, MAX_FILE_SIZE), encoding)
    except ValidationError as error:
        raise CommandError(error.messages[0]) from error


def chosen_columns(table: Table, chosen: list[str]) -> dict[str, int]:
    columns = USERS.guess(table.header)
    for text in chosen:
        name, _, title = text.partition("=")
        if name not in FIELDS or title not in table.header:
            raise CommandError(
                f"--column {text}: give one of {', '.join(FIELDS)}, = and one of the headers {', '.join(table.header)}."
            )
        columns[name] = table.header.index(title)
    if "username" not in columns:
        raise CommandError("There is no column for usernames. Name it with --column username=HEADER.")
    return columns


def request_to(host: str) -> HttpRequest | None:
    """A request that links in emails take their host from: --host, or else SITE_URL."""
    if not host:
        return site_request()
    request = SiteRequest(host, settings.ACCOUNT_DEFAULT_HTTP_PROTOCOL)
    try:
        request.get_host()
    except DisallowedHost as error:
        raise CommandError(
            f"--host {host}: this isn't in ALLOWED_HOSTS ({', '.join(settings.ALLOWED_HOSTS)}). Use one of them, or add it."
        ) from error
    return request
