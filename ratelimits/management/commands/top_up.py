"""manage.py top_up USERNAME LIMIT AMOUNT"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.base.commands import find_user
from config.base.history import Author
from ratelimits.services import top_up, totals_of

# More digits than any reasonable amount has.
MAX_DIGITS = 19


class Command(BaseCommand):
    help = "Add to a user's prepaid rate limit, one with the window “total”. It counts from the next request."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("limit", help="The name of the rate limit.")
        parser.add_argument("amount", help="How much to add: requests, tokens or microcents, as the rate limit counts.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["username"])
        limit = totals_of(user).filter(name=options["limit"]).first()
        if limit is None:
            names = ", ".join(totals_of(user).values_list("name", flat=True)) or "none"
            raise CommandError(f"{user} has no total with the name {options['limit']}. They have: {names}.")
        try:
            raised = top_up(limit, whole_number(options["amount"]), Author(user, via="manage.py top_up"))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"Topped up {raised}: {raised.in_words}.")


def whole_number(text: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= MAX_DIGITS):
        raise ValidationError("Enter the amount as a whole number, without separators.")
    return int(text)
