"""Search in tables with a million rows: first the bounded set of rows that match, each column by its own index; then their order.

In a single statement, the planner would scan the sort order's index and test every row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import connection, models
from django.db.models.functions import Coalesce
from django.db.models.lookups import Lookup

from config.base.text import search_form

# Words that match more rows aren't looked up first: scanning in sort order soon finds a full page.
MAX_MATCHES = 10_000
# Trigram indexes find nothing shorter inside a word.
SHORTEST_INSIDE = 3

Ids = set[Any]
# The ids of the rows that match a word; None if there are more than MAX_MATCHES.
Find = Callable[[str], "Ids | None"]


def search(rows: Any, text: str, *, condition: Callable[[str], models.Q], find: Find) -> Any:
    """The rows that match each word of `text`. condition: what matching a word means; find: all ids that match it."""
    # One word that few rows match is enough to look up; it's probably the longest.
    found: Ids | None = None
    for word in sorted(text.split(), key=len, reverse=True):
        if found is None and (found := find(word)) is not None:
            rows = without_index_order(rows.filter(pk__any_of=list(found)))
        else:
            rows = rows.filter(condition(word))
    return rows


def ids_with(rows: Any, conditions: Iterable[models.Q]) -> Ids | None:
    """The ids of the rows with one of the conditions, each of which one index answers; None if there are too many."""
    found: Ids = set()
    for condition in conditions:
        found.update(rows.filter(condition).order_by().values_list("pk", flat=True)[: MAX_MATCHES + 1])
        if len(found) > MAX_MATCHES:
            return None
    return found


def has_word(name: str, word: str) -> models.Q:
    """Whether a column has the word; a short one only at the start of its words."""
    form = search_form(word)
    if len(form) >= SHORTEST_INSIDE or not form.isascii():
        return models.Q(**{f"{name}__has": word})
    return models.Q(**{f"{name}__startswith": form}) | models.Q(**{f"{name}__contains": f" {form}"})


def starts_with(name: str, text: str) -> models.Q:
    """Like `startswith`, in a form for which SQLite uses an index."""
    if connection.vendor != "sqlite":
        return models.Q(**{f"{name}__startswith": text})
    return models.Q(**{f"{name}__gte": text, f"{name}__lt": f"{text}\U0010ffff"})


def any_of(conditions: Sequence[models.Q]) -> models.Q:
    return models.Q(*conditions, _connector=models.Q.OR)


def without_index_order(rows: Any) -> Any:
    ordering = rows.query.order_by or (rows.model._meta.ordering if rows.query.default_ordering else ())
    return rows.order_by(*map(unindexed, ordering))


def unindexed(part: Any) -> models.OrderBy:
    if isinstance(part, str):
        column = models.F(part.removeprefix("-"))
        part = column.desc() if part.startswith("-") else column.asc()
    order: models.OrderBy = part.copy() if isinstance(part, models.OrderBy) else models.OrderBy(part)
    (column,) = order.get_source_expressions()
    order.set_source_expressions([Coalesce(column, column)])
    return order


class AnyOf(Lookup):
    """Like `in`, but with one parameter for thousands of values."""

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, params = self.process_lhs(compiler, connection)
        field = self.lhs.output_field
        values = [field.get_db_prep_value(value, connection) for value in self.rhs]
        if connection.vendor == "postgresql":
            return f"{column} = ANY(%s)", [*params, values]
        return f"{column} IN (SELECT value FROM json_each(%s))", [*params, json.dumps(values)]  # noqa: S608


models.Field.register_lookup(AnyOf)
models.ForeignKey.register_lookup(AnyOf)
