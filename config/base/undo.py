"""Undo: for an hour, the message about an action has a button that reverses it, for the person who did it.

The button sends a signed token, which names the history entries that the action wrote. They have the previous values. Rows
that were changed since then are left alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core import signing
from django.db import models
from django.http import HttpRequest

from config.base.database import in_batches
from config.base.history import Author, extras_of

SALT = "config.base.undo"
LIFE = timedelta(hours=1)
# The most rows that an action can change and still be undone.
MAX_ROWS = 5_000
BATCH = 500
# What the extra tags of a message with a button begin with.
TAG = "undo"


class Token(NamedTuple):
    """user: who acted. action: the one that undoes it. first, last: ids of entries, with possibly others in between."""

    user: int
    action: str
    operation: str
    first: int
    last: int


class Button(NamedTuple):
    url: str
    token: str


def new_operation() -> str:
    return secrets.token_hex(6)


def offer_undo(request: HttpRequest, text: str, author: Author, action: str, url: str) -> None:
    """Say that the action was done, with a button that sends its token to `url`."""
    token = Token(author.user.pk, action, author.operation, author.written[0], author.written[-1])
    messages.success(request, text, extra_tags=f"{TAG} {url} {signing.dumps(token, salt=SALT)}")


def button_of(extra_tags: str | None) -> Button | None:
    kind, _, rest = (extra_tags or "").partition(" ")
    url, _, token = rest.partition(" ")
    return Button(url, token) if kind == TAG else None


def read_token(text: str, user: Any) -> Token | None:
    """None if it isn't the user's own, or too old."""
    try:
        token = Token(*signing.loads(text, salt=SALT, max_age=LIFE))
    except signing.BadSignature:
        return None
    return token if token.user == user.pk else None


class Operation:
    """What an action did, according to the history."""

    def __init__(self, token: Token) -> None:
        self.token = token

    @cached_property
    def entries(self) -> list[LogEntry]:
        written = LogEntry.objects.filter(user_id=self.token.user, pk__range=(self.token.first, self.token.last))
        return [entry for entry in written.order_by("pk") if self.wrote(entry)]

    def wrote(self, entry: LogEntry) -> bool:
        return extras_of(entry).get("operation") == self.token.operation

    def of(self, model: type[models.Model]) -> dict[str, LogEntry]:
        """The entries about rows of the model, by id."""
        kind = ContentType.objects.get_for_model(model)
        return {str(entry.object_id): entry for entry in self.entries if entry.content_type_id == kind.pk}

    def changed_since(self, model: type[models.Model]) -> dict[str, LogEntry]:
        """The last entry about each row that was changed after this."""
        entries = self.of(model)
        return {
            str(entry.object_id): entry
            for entry in self.later(model, entries)
            if entry.pk > entries[str(entry.object_id)].pk and not self.wrote(entry)
        }

    def later(self, model: type[models.Model], entries: Mapping[str, LogEntry]) -> Iterator[LogEntry]:
        since = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(model), pk__gt=self.token.first
        ).select_related("user")
        for pks in in_batches(list(entries), BATCH):
            yield from since.filter(object_id__in=pks).order_by("pk")

    def untouched(self, model: type[models.Model]) -> dict[str, LogEntry]:
        changed = self.changed_since(model)
        return {pk: entry for pk, entry in self.of(model).items() if pk not in changed}


def former_of(entry: LogEntry) -> dict[str, Any]:
    """The values before the change, as the service recorded them."""
    former: dict[str, Any] = extras_of(entry).get("former", {})
    return former
