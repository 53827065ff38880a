from __future__ import annotations

import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.erasure import erase
from accounts.models import User
from config.base.history import Author
from config.base.text import counted, quoted
from config.base.validators import is_encodable


class Command(BaseCommand):
    help = (
        "Overwrite a user's personal data: name, username, email address, picture, connected accounts, sessions, and IP "
        "addresses in the history and usage. Their keys are revoked. You can't undo this."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="The username, or the id of a deleted user.")
        parser.add_argument("--dry-run", action="store_true", help="Only show what would happen.")
        parser.add_argument("--yes", action="store_true", help="Don't ask for confirmation.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_even_if_deleted(options["username"])
        if user.erased_at is not None:
            self.stdout.write(f"User {user.pk} is already erased.")
            return
        keys = counted(user.api_keys.live().count(), "key")
        if options["dry_run"]:
            self.stdout.write(f"Would erase user {user.pk} ({user.username}) and revoke {keys}.")
            return
        if not (options["yes"] or is_confirmed(user)):
            raise CommandError(f"That isn't the username {user.username}. Nothing was erased. Run the command again.")
        try:
            erase(user, Author(user, via="manage.py erase_user"))
        except ValidationError as error:
            raise CommandError(error.messages[0]) from error
        self.stdout.write(f"Erased user {user.pk} and revoked {keys}.")


def is_confirmed(user: User) -> bool:
    if not sys.stdin.isatty():
        return True
    return input(f"Type {user.username} to permanently erase user {user.pk}: ") == user.username


def find_even_if_deleted(name: str) -> User:
    """The live user with this username, else the only deleted one, else the user with this id. Raises CommandError."""
    named = User.objects.filter(username=name.casefold() if is_encodable(name) else "")
    users: list[User] = list(named.live()) or list(named.deleted())
    if not users and name.isascii() and name.isdigit():
        users = list(User.objects.filter(pk=int(name)))
    if not users:
        raise CommandError(
            f"There is no user with the username or id {quoted(name)}. The address of a user's page has their id."
        )
    if len(users) > 1:
        ids = ", ".join(str(user.pk) for user in users)
        raise CommandError(f"Several deleted users had the username {name}. Use one of their ids: {ids}.")
    return users[0]
