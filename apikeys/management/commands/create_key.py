"""manage.py create_key USERNAME --name NAME [--allow "ACTION RESOURCE"]… [--host HOST] [--expires DAYS] [--limit N …]"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from apikeys.models import KEY_WINDOWS
from apikeys.services import issue_key
from config.base.access import EVERYTHING, Permission
from config.base.commands import find_user
from config.base.history import Author

DEFAULT_PERIOD = 60
MAX_DAYS = 100 * 365 - 1
# The option for each field of a key, except a host, which may be from --allow or --host.
OPTIONS = {
    "name": "--name",
    "expires_at": "--expires",
    "rate_limit": "--limit",
    "rate_period": "--period",
    "rate_window": "--window",
    "action": "--allow",
    "resource": "--allow",
}


class Command(BaseCommand):
    help = "Create an API key and print it as JSON, with its secret (shown only once)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", required=True, help="What the key is for.")
        parser.add_argument(
            "--allow",
            action="append",
            metavar='"ACTION RESOURCE [at HOST]"',
            help="An action (read, create, update, delete or *), a path pattern or resource name, and optionally “at” and a "
            "host, such as api.example.com or *.example.com. Can be repeated. Default: everything.",
        )
        parser.add_argument("--host", default="", help="The host of permissions that don't name one. Default: any.")
        parser.add_argument(
            "--expires", type=int, metavar="DAYS", help="Days until the key expires. Default: it never expires."
        )
        parser.add_argument("--limit", type=int, metavar="N", help="A rate limit for this key. Default: none.")
        parser.add_argument(
            "--period",
            type=int,
            metavar="SECONDS",
            help="The period of --limit. Default: 60. Weeks and months have none.",
        )
        parser.add_argument(
            "--window", choices=[value for value, _ in KEY_WINDOWS], help="The window of --limit. Default: rolling."
        )

    @sensitive_variables()
    def handle(self, *args: Any, **options: Any) -> None:
        owner = find_user(options["username"])
        try:
            key, secret = issue_key(
                owner,
                Author(owner, via="manage.py create_key"),
                name=options["name"],
                permissions=read_permissions(options["allow"], options["host"]),
                expires_at=read_expiry(options["expires"]),
                **read_limit(options["limit"], options["period"], options["window"]),
            )
        except ValidationError as error:
            raise CommandError(told(error)) from None
        created = {
            "id": str(key.pk),
            "secret": secret,
            "name": key.name,
            "username": owner.username,
            "expires_at": key.expires_at.isoformat(timespec="seconds") if key.expires_at else None,
            "rate_limit": key.limit_in_words or None,
            "permissions": sorted(str(permission) for permission in key.permissions.all()),
        }
        self.stdout.write(json.dumps(created, indent=2))


def told(error: ValidationError) -> str:
    """The messages, with the options that they're about."""
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(
        f"{OPTIONS[name]}: {message}" if name in OPTIONS else message
        for name, messages in error.message_dict.items()
        for message in messages
    )


def read_permissions(allowed: list[str] | None, host: str) -> list[Permission]:
    permissions = [Permission.parse(text) for text in allowed] if allowed else [EVERYTHING]
    return [permission if permission.host else permission._replace(host=host) for permission in permissions]


def read_limit(limit: int | None, period: int | None, window: str | None) -> dict[str, Any]:
    if limit is None:
        if period is not None or window is not None:
            raise CommandError("--period and --window need --limit.")
        return {}
    values = {"rate_limit": limit, "rate_period": DEFAULT_PERIOD if period is None else period}
    return values | ({"rate_window": window} if window else {})


def read_expiry(days: int | None) -> Any:
    if days is None:
        return None
    if not 1 <= days <= MAX_DAYS:
        raise CommandError(f"--expires must be a number of days from 1 to {MAX_DAYS:,}.")
    return timezone.now() + timedelta(days=days)
