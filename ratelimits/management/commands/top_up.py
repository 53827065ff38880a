"""manage.py top_up USERNAME LIMIT AMOUNT"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.base.commands import find_user
from config.base.history import Author
from config.base.text import quoted
from ratelimits.models import RateLimit
from ratelimits.services import top_up, totals_of

# More digits than any amount has, and fewer than Python refuses to read.
MAX_DIGITS = 4000


class Command(BaseCommand):
    help = "Add to a user's prepaid rate limit, one with the window “total”. It counts from the next request."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("limit", help="The name of the rate limit.")
        parser.add_argument("amount", help="How much to add: requests, tokens or microcents, as the rate limit counts.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["username"])
        limit = find_total(user, options["limit"])
        try:
            raised = top_up(limit, whole_number(options["amount"]), Author(user, via="manage.py top_up"))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"Topped up {raised}: {raised.in_words}.")


def find_total(user: Any, name: str) -> RateLimit:
    totals = {limit.name: limit for limit in totals_of(user)}
    if name in totals:
        return totals[name]
    if not totals:
        raise CommandError(
            f"{user} has no prepaid rate limit. Create one on their page first, with the window “Total”."
        )
    raise CommandError(f"{user} has no prepaid rate limit named {quoted(name)}. Use one of {', '.join(totals)}.")


def whole_number(text: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= MAX_DIGITS):
        raise ValidationError("Enter the amount as a whole number, without separators.")
    return int(text)
