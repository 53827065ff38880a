"""Undo: for an hour, the message about an action has a button that reverses it, for the user who did it.

The button sends a signed token, which names the history entries that the action wrote. They have the previous values. Rows
that were changed since then are left alone. The last change of a row that has previous values can be undone from its history,
too, by everyone who has permission to make such a change.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest

from config.base.database import in_batches
from config.base.history import CHANGE, Author, Change, changes_between, describe, extras_of, snapshot
from config.base.text import ago

SALT = "config.base.undo"
LIFE = timedelta(hours=1)
# The most rows that an action can change and still be undone.
MAX_ROWS = 5_000
BATCH = 500
# How many of the fields that someone else changed are listed.
MAX_NAMED = 5
# What the extra tags of a message with a button begin with.
TAG = "undo"
# The action that gives rows their former values.
FORMER = "former"


class Token(NamedTuple):
    """user: who may undo. action: the one that undoes it. first, last: ids of entries, with possibly others in between."""

    user: int
    action: str
    operation: str
    first: int
    last: int


class Button(NamedTuple):
    """entry: the id of the entry in the history that it undoes, if it stands there."""

    url: str
    token: str
    entry: int = 0


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


def undo_in_history(entry: LogEntry | None, user: Any, url: str) -> Button | None:
    """A button for the last change of a row, if that can be undone."""
    extras = extras_of(entry) if entry else {}
    if entry is None or not ("former" in extras or "first" in extras):
        return None
    token = Token(user.pk, FORMER, extras["operation"], extras.get("first", entry.pk), entry.pk)
    return Button(url, signing.dumps(token, salt=SALT), entry.pk)


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
    def entries(self) -> dict[int | None, dict[str, LogEntry]]:
        """By type and id of the row."""
        written = LogEntry.objects.filter(pk__range=(self.token.first, self.token.last)).order_by("pk")
        entries: dict[int | None, dict[str, LogEntry]] = defaultdict(dict)
        for entry in filter(self.wrote, written):
            entries[entry.content_type_id][str(entry.object_id)] = entry
        return entries

    def wrote(self, entry: LogEntry) -> bool:
        return extras_of(entry).get("operation") == self.token.operation

    def of(self, model: type[models.Model]) -> dict[str, LogEntry]:
        """The entries about rows of the model, by id."""
        return self.entries[ContentType.objects.get_for_model(model).pk]

    def changed_since(self, model: type[models.Model], pk: str | None = None) -> dict[str, LogEntry]:
        """The last entry about each row, or only the one with this id, that was changed after this."""
        entries = self.of(model) if pk is None else {pk: self.of(model)[pk]}
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

    def former_of(self, row: models.Model) -> dict[str, Any]:
        """The values of the locked row from before the action. Raises ValidationError if it was changed since then."""
        pk = str(row.pk)
        for entry in self.changed_since(type(row), pk).values():
            raise ValidationError(why_changed(entry))
        return former_in(self.of(type(row))[pk])


def why_changed(entry: LogEntry) -> str:
    fields = ", ".join(change["field"] for change in describe(entry).values[:MAX_NAMED])
    what = f" ({fields})" if fields else ""
    return f"“{entry.object_repr}” was changed by {entry.user} {ago(entry.action_time)}{what}, so it wasn't undone."


def put_back(
    row: models.Model, former: Mapping[str, Any], author: Author, *, changes: Iterable[Change] = (), note: str = ""
) -> None:
    """Give the row its former values: IDs for foreign keys, and lists of IDs for many-to-many fields.

    Call it in a transaction. Raises ValidationError if they're no longer valid.
    """
    before, columns = snapshot(row), []
    for name, value in former.items():
        field: Any = row._meta.get_field(name)
        if field.many_to_many:
            getattr(row, name).set(field.related_model._default_manager.filter(pk__in=value))
        else:
            setattr(row, field.attname, value)
            columns.append(name)
    row.full_clean()
    row.save(update_fields=columns)
    author.record(row, CHANGE, changes=[*changes_between(before, snapshot(row)), *changes], note=note)


def former_in(entry: LogEntry) -> dict[str, Any]:
    """The values before the change, as the service recorded them."""
    former: dict[str, Any] = extras_of(entry).get("former", {})
    return former
