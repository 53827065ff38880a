"""Pages of a list, newest first, from one row to the next instead of by number: each costs the same, however far down it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet, Subquery


@dataclass(frozen=True)
class KeysetPage:
    """Rows, newest first. older, newer: the row to continue from; None at the end of the list."""

    rows: list[Any]
    older: UUID | None
    newer: UUID | None

    @property
    def is_first(self) -> bool:
        return self.newer is None


def keyset_page(rows: QuerySet[Any], size: int, *, before: UUID | None = None, after: UUID | None = None) -> KeysetPage:
    """The newest rows by created_at and id, or those next to the row `before` or `after`, which isn't among them."""
    if after is not None:
        found = list(beside(rows, after, "gt").order_by("created_at", "pk")[: size + 1])
        if len(found) <= size:
            # Too few for a page: start over, so that the first page is always full.
            return keyset_page(rows, size)
        shown = found[size - 1 :: -1]
        return KeysetPage(shown, shown[-1].pk, shown[0].pk)
    older = rows if before is None else beside(rows, before, "lt")
    found = list(older.order_by("-created_at", "-pk")[: size + 1])
    shown = found[:size]
    last = shown[-1].pk if len(found) > size else None
    return KeysetPage(shown, last, None if before is None else (shown[0].pk if shown else before))


def beside(rows: QuerySet[Any], pk: UUID, side: str) -> QuerySet[Any]:
    # The database looks the time up itself: SQLite's text has three or six decimals, and Python's time doesn't tell which.
    at = Subquery(rows.model._default_manager.filter(pk=pk).values("created_at"))
    return rows.filter(
        Q(**{f"created_at__{side}e": at}) & (Q(**{f"created_at__{side}": at}) | Q(**{f"pk__{side}": pk}))
    )
