"""The history: a Django LogEntry for every change, in the admin and outside it.

The JSON message of an entry also has the old and new value of each field, the author's address, and where (`via`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.http import HttpRequest

from config.base.http import client_address
from config.base.periods import PeriodField
from config.base.search import FoldedField
from config.base.text import exact, period_in_full

__all__ = [
    "ADDITION",
    "CHANGE",
    "DELETION",
    "Author",
    "Change",
    "Description",
    "changes_between",
    "describe",
    "display",
    "entries_for",
    "entries_of",
    "entry_since",
    "entry_that_set",
    "extras_of",
    "former_values",
    "initial_values",
    "snapshot",
    "stored_values",
]

SECRET_FIELDS = frozenset({"password", "secret_hash", "previous_hash"})
MAX_VALUE_LENGTH = 200
# To find who changed something.
MAX_ENTRIES_READ = 50


class Change(TypedDict):
    field: str
    old: str
    new: str


@dataclass(frozen=True)
class Author:
    """Who makes a change, and how: the user, their request, and `via`, such as "admin" or "manage.py purge_deleted".

    A command has no user of its own and names the one whose data it changes; for many users, that is None.
    operation: marks the entries of an action that can be undone. written: the ids of the entries, in order.
    address: of a request that has ended.
    """

    user: Any
    request: HttpRequest | None = None
    via: str = ""
    operation: str = ""
    written: list[int] = field(default_factory=list, compare=False)
    address: str = ""

    def record(
        self,
        row: models.Model,
        flag: int,
        *,
        changes: Iterable[Change] = (),
        note: str = "",
        former: Mapping[str, Any] | None = None,
        first: int = 0,
    ) -> LogEntry:
        """flag: ADDITION, CHANGE or DELETION. note: a sentence such as “Suspended.”

        former: the values that undo needs, for JSON. first: the first entry about parts of the row that changed with it.
        """
        entry = self._entry(row, flag, list(changes), note, former=former, first=first)
        entry.save(force_insert=True)
        self.written.append(entry.pk)
        return entry

    def record_many(
        self,
        rows: Iterable[Any],
        flag: int,
        *,
        changes: Sequence[Change] | Callable[[Any], Sequence[Change]] = (),
        note: str = "",
        former: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        """changes: the same for all rows, or a function of the row. former: the values that undo needs, for JSON."""
        entries = [
            self._entry(
                row, flag, changes(row) if callable(changes) else changes, note, former=former(row) if former else None
            )
            for row in rows
        ]
        LogEntry.objects.bulk_create(entries, batch_size=1000)
        self.written.extend(entry.pk for entry in entries)

    def _entry(
        self,
        row: models.Model,
        flag: int,
        changes: Sequence[Change],
        note: str,
        *,
        former: Mapping[str, Any] | None = None,
        first: int = 0,
    ) -> LogEntry:
        messages: dict[int, dict[str, Any]] = {
            ADDITION: {"added": {}},
            CHANGE: {"changed": {"fields": [change["field"] for change in changes]}},
            DELETION: {"deleted": {}},
        }
        ip = client_address(self.request) if self.request else self.address
        extras: dict[str, Any] = {"values": changes, "note": note, "ip": ip, "via": self.via}
        if self.operation:
            extras |= {"operation": self.operation, "former": dict(former or {}), "first": first}
        message = messages[flag] | {name: value for name, value in extras.items() if value}
        return LogEntry(
            user_id=(self.user or row).pk,
            content_type=ContentType.objects.get_for_model(row, for_concrete_model=True),
            object_id=str(row.pk),
            object_repr=str(row)[:200],
            action_flag=flag,
            change_message=json.dumps([message], default=str),
        )


def entries_for(records: Iterable[tuple[Author, models.Model, str]], flag: int) -> list[LogEntry]:
    """An unsaved entry for each author, row and note."""
    return [author._entry(row, flag, [], note) for author, row, note in records]


def snapshot(row: models.Model) -> dict[str, str]:
    """The row's fields by verbose name, as text."""
    return {
        str(field.verbose_name): display(row, field)
        for field in (*row._meta.concrete_fields, *row._meta.many_to_many)
        if is_recorded(field)
    }


def is_recorded(field: Any) -> bool:
    return field.name not in {"updated_at", "is_deleted"} and not isinstance(field, FoldedField)


def stored_values(row: models.Model) -> dict[str, Any]:
    fields = [field for field in row._meta.concrete_fields if field.attname not in row.get_deferred_fields()]
    return {field.name: getattr(row, field.attname) for field in fields}


def former_values(before: Mapping[str, Any], row: models.Model) -> dict[str, Any]:
    """Those of `before`, the row's `stored_values` at that time, that are different now."""
    now = stored_values(row)
    fields = filter(is_recorded, row._meta.concrete_fields)
    return {field.name: before[field.name] for field in fields if before[field.name] != now[field.name]}


def display(row: models.Model, field: Any) -> str:
    if field.name in SECRET_FIELDS:
        return "(hidden)"
    if field.many_to_many:
        return ", ".join(sorted(map(str, getattr(row, field.name).all()))) or "–"
    if field.choices:
        return str(getattr(row, f"get_{field.name}_display")())
    value = getattr(row, field.name) if field.is_relation else field.value_from_object(row)
    if value in (None, ""):
        return "–"
    return period_in_full(value) if isinstance(field, PeriodField) else in_words(value)


def in_words(value: Any) -> str:
    if isinstance(value, datetime):
        return exact(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)[:MAX_VALUE_LENGTH]


def initial_values(row: models.Model) -> list[Change]:
    return [
        change
        for change in changes_between({}, snapshot(row))
        if change["new"] not in {"–", "(hidden)"} and change["field"] not in {"ID", "id", "created"}
    ]


def changes_between(before: dict[str, str], after: dict[str, str]) -> list[Change]:
    return [
        Change(field=name, old=before.get(name, "–"), new=value)
        for name, value in after.items()
        if before.get(name) != value
    ]


def entries_of(row: models.Model) -> models.QuerySet[LogEntry]:
    kind = ContentType.objects.get_for_model(row, for_concrete_model=True)
    return LogEntry.objects.filter(content_type=kind, object_id=str(row.pk)).select_related("user").order_by("-pk")


def entry_that_set(row: models.Model, field: str, value: str) -> LogEntry | None:
    """The last entry about the field (by verbose name), if it set this value."""
    for logged in entries_of(row)[:MAX_ENTRIES_READ]:
        for change in describe(logged).values:
            if change["field"] == field:
                return logged if change["new"] == value else None
    return None


def entry_since(row: models.Model, timestamp: int) -> LogEntry | None:
    return entries_of(row).filter(action_time__gte=datetime.fromtimestamp(timestamp, UTC)).first()


@dataclass(frozen=True)
class Description:
    summary: str
    values: list[Change]
    ip: str = ""
    via: str = ""


def describe(logged: LogEntry) -> Description:
    extras = extras_of(logged)
    summary = extras.get("note") or {ADDITION: "Created.", DELETION: "Deleted."}.get(logged.action_flag, "Edited.")
    if "values" not in extras and "note" not in extras and logged.change_message:
        summary = logged.get_change_message()
    return Description(summary, extras.get("values", []), extras.get("ip", ""), extras.get("via", ""))


def extras_of(logged: LogEntry) -> dict[str, Any]:
    try:
        message = json.loads(logged.change_message)
    except ValueError:
        return {}
    first = message[0] if isinstance(message, list) and message else {}
    return first if isinstance(first, dict) else {}
