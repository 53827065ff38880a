"""manage.py erase_user USERNAME: overwrite a person's data; the row and its history stay."""

from __future__ import annotations

import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.erasure import erase
from accounts.models import User
from config.base.history import Author


class Command(BaseCommand):
    help = (
        "Overwrite everything that tells who an account belonged to: name, username, e-mail address, picture, linked "
        "sign-ins, sessions, addresses in the history and the usage. Keys are revoked. This cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "username", help="The account's username; for a deleted account, or one of several, its id."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
        parser.add_argument(
            "--yes", action="store_true", help="Do not ask. Without a terminal nothing is asked either."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = account(options["username"])
        if user.erased_at is not None:
            self.stdout.write(f"Account {user.pk} was erased already.")
            return
        keys = user.api_keys.live().count()
        if options["dry_run"]:
            self.stdout.write(f"Would erase account {user.pk} ({user.username}) and revoke {keys} keys.")
            return
        if not (options["yes"] or confirmed(user)):
            raise CommandError("That is not the username of the account. Nothing was erased.")
        try:
            erase(user, Author(user, via="manage.py erase_user"))
        except ValidationError as error:
            raise CommandError(error.messages[0]) from error
        self.stdout.write(f"Account {user.pk} was erased, and {keys} keys revoked.")


def confirmed(user: User) -> bool:
    """Whether the person at the terminal types the username; a script has named the account, and means it."""
    return (
        not sys.stdin.isatty() or input(f"Type {user.username} to erase account {user.pk} for good: ") == user.username
    )


def account(wanted: str) -> User:
    """The live account of this username, else the only deleted one, else the one of this id. Raises CommandError."""
    users: list[User] = list(User.objects.live().filter(username=wanted)) or list(
        User.objects.deleted().filter(username=wanted)
    )
    if not users and wanted.isascii() and wanted.isdigit():
        users = list(User.objects.filter(pk=int(wanted)))
    if not users:
        raise CommandError(f"There is no account with the username or id {wanted}.")
    if len(users) > 1:
        ids = ", ".join(str(user.pk) for user in users)
        raise CommandError(f"Several deleted accounts had the username {wanted}. Give one of their ids: {ids}.")
    return users[0]
