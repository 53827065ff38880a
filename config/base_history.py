"""The history of changes: Django's LogEntry, written for every change, in the admin or outside it.

An entry's message is Django's JSON list with one element, to which we add what the stock one lacks: the old and new
value of each field, the address of the person who did it, and where (`via`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypedDict

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.http import HttpRequest

from config.base_http import client_address

__all__ = ["ADDITION", "CHANGE", "DELETION", "Change", "changes_between", "record", "snapshot"]

# Fields whose values must not appear in any history.
SECRET_FIELDS = frozenset({"password", "secret_hash", "previous_hash"})
LONGEST_VALUE = 200


class Change(TypedDict):
    field: str
    old: str
    new: str


def snapshot(row: models.Model) -> dict[str, str]:
    """The row's fields by their names for people, as text; compare two with `changes_between`."""
    return {
        str(field.verbose_name): display(row, field)
        for field in row._meta.concrete_fields
        if field.name not in {"updated_at", "is_deleted"}
    }


def display(row: models.Model, field: Any) -> str:
    if field.name in SECRET_FIELDS:
        return "(hidden)"
    if field.is_relation:
        return str(getattr(row, field.name) or "–")
    if field.choices:
        return str(getattr(row, f"get_{field.name}_display")())
    value = field.value_from_object(row)
    return "–" if value in (None, "") else str(value)[:LONGEST_VALUE]


def changes_between(before: dict[str, str], after: dict[str, str]) -> list[Change]:
    """What differs between two snapshots of a row."""
    return [
        Change(field=name, old=before.get(name, "–"), new=value)
        for name, value in after.items()
        if before.get(name) != value
    ]


def record(
    row: models.Model,
    flag: int,
    *,
    actor: Any,
    changes: Iterable[Change] = (),
    note: str = "",
    request: HttpRequest | None = None,
    via: str = "",
) -> LogEntry:
    """Write one history entry.

    row: what was changed. flag: ADDITION, CHANGE or DELETION. actor: the User who did it; a command, which has none,
    names the account concerned and says via="manage.py …". changes: old → new. note: a sentence such as “Suspended.”
    """
    return save_entries([entry(row, flag, actor=actor, changes=changes, note=note, request=request, via=via)])[0]


def entry(
    row: models.Model,
    flag: int,
    *,
    actor: Any,
    changes: Iterable[Change] = (),
    note: str = "",
    request: HttpRequest | None = None,
    via: str = "",
) -> LogEntry:
    """An entry that is not saved yet; what goes in is told at `record`. For many rows at once: see `save_entries`."""
    changes = list(changes)
    message: dict[str, Any] = {
        ADDITION: {"added": {}},
        CHANGE: {"changed": {"fields": [change["field"] for change in changes]}},
        DELETION: {"deleted": {}},
    }[flag]
    extras = {"values": changes, "note": note, "ip": client_address(request) if request else "", "via": via}
    return LogEntry(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(row, for_concrete_model=True),
        object_id=str(row.pk),
        object_repr=str(row)[:200],
        action_flag=flag,
        change_message=json.dumps([message | {name: value for name, value in extras.items() if value}]),
    )


def save_entries(entries: Iterable[LogEntry]) -> list[LogEntry]:
    """Write many entries in few statements: what a bulk action does to 10,000 rows is 10,000 entries."""
    return LogEntry.objects.bulk_create(entries, batch_size=500)


class Line(TypedDict):
    """An entry as a page shows it."""

    time: Any
    by: str
    ip: str
    note: str
    values: list[Change]


def history_of(row: models.Model, most: int) -> list[Line]:
    """The newest `most` entries about a row."""
    kind = ContentType.objects.get_for_model(row)
    found = LogEntry.objects.filter(content_type=kind, object_id=str(row.pk)).select_related("user")
    return [line(one) for one in found.order_by("-action_time", "-pk")[:most]]


def line(one: LogEntry) -> Line:
    try:
        parts = json.loads(one.change_message)
        extras: dict[str, Any] = parts[0]
        values: list[Change] = [dict(change) for change in extras.get("values", [])]  # type: ignore[misc]
        note, ip, via = (str(extras.get(name, "")) for name in ("note", "ip", "via"))
    except (ValueError, TypeError, LookupError, AttributeError):
        values, note, ip, via = [], "", "", ""
    spoken = note or ("" if values else str(one.get_change_message()))
    return Line(time=one.action_time, by=via or str(one.user), ip=ip, note=spoken, values=values)
