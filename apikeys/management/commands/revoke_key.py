"""manage.py revoke_key ID --reason TEXT"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apikeys.models import APIKey
from apikeys.services import revoke_key
from config.base.history import Author
from config.base.text import quoted


class Command(BaseCommand):
    help = "Revoke an API key permanently. Revoking it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="The ID of the key.")
        parser.add_argument("--reason", required=True, help="Why you revoke it. Stored with the key.")

    def handle(self, *args: Any, **options: Any) -> None:
        key = find(options["id"])
        if key.revoked_at is not None:
            self.stdout.write(f"{key} was already revoked on {key.revoked_at:%Y-%m-%d %H:%M} UTC: {key.revoked_reason}")
            return
        try:
            revoke_key(key, Author(key.user, via="manage.py revoke_key"), reason=options["reason"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"Revoked {key}.")


def find(text: str) -> APIKey:
    try:
        return APIKey.objects.select_related("user").get(pk=UUID(text))
    except (ValueError, APIKey.DoesNotExist):
        raise CommandError(
            f"There is no API key with the ID {quoted(text)}. The page of a key shows its ID, and so does create_key."
        ) from None
