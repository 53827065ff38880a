"""manage.py create_key USERNAME --name NAME [--allow "ACTION RESOURCE"]… [--expires DAYS]"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from apikeys.models import EVERYTHING
from apikeys.services import Permission, issue_key
from config.base.history import Author

LONGEST_EXPIRY = 100 * 365


class Command(BaseCommand):
    help = "Make an API key and print it as JSON, with its secret: this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", required=True, help="what the key is for")
        parser.add_argument(
            "--allow",
            action="append",
            metavar='"ACTION RESOURCE"',
            help="read, create, update, delete or *, and a path pattern or a name; may be given several times. "
            "Without it everything is allowed.",
        )
        parser.add_argument("--expires", type=int, metavar="DAYS", help="days until the key expires; without it: never")

    @sensitive_variables()
    def handle(self, *args: Any, **options: Any) -> None:
        owner = User.objects.live().filter(username=options["username"].casefold()).first()
        if owner is None:
            raise CommandError("There is no live account with this username.")
        try:
            key, secret = issue_key(
                owner,
                Author(owner, via="manage.py create_key"),
                name=options["name"],
                permissions=read_permissions(options["allow"]),
                expires_at=read_expiry(options["expires"]),
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        made = {
            "id": str(key.pk),
            "secret": secret,
            "name": key.name,
            "username": owner.username,
            "expires_at": key.expires_at.isoformat(timespec="seconds") if key.expires_at else None,
            "permissions": sorted(str(permission) for permission in key.permissions.all()),
        }
        self.stdout.write(json.dumps(made, indent=2))


def read_permissions(allowed: list[str] | None) -> list[Permission]:
    """The (action, resource) pairs in texts such as "read /orders/*"."""
    pairs = []
    for text in allowed or ["* *"]:
        parts = text.split()
        if len(parts) != len(EVERYTHING[0]):
            raise CommandError('Give --allow an action and a resource, such as --allow "read /orders/*".')
        pairs.append((parts[0], parts[1]))
    return pairs


def read_expiry(days: int | None) -> Any:
    if days is None:
        return None
    if not 1 <= days < LONGEST_EXPIRY:
        raise CommandError(f"Give --expires a number of days from 1 to {LONGEST_EXPIRY - 1:,}.")
    return timezone.now() + timedelta(days=days)
