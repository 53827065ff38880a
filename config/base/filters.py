"""Active filters of a list as chips, and query strings without one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict


@dataclass(frozen=True)
class Chip:
    """An active filter. query: that of the list without it."""

    label: str
    value: str
    query: str


def query_without(data: Any, *names: str) -> str:
    """The query string of `data` without `names` and without the place in the list."""
    query = data.copy() if isinstance(data, QueryDict) else QueryDict(mutable=True)
    for name in (*names, "page", "p", "before", "after"):
        query.pop(name, None)
    return str(query.urlencode())


def query_with(data: Any, name: str, value: str) -> str:
    rest = QueryDict(query_without(data, name), mutable=True)
    rest[name] = value
    return str(rest.urlencode())
