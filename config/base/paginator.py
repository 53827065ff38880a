from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

MAX_COUNTED = 10_000
PAGE_SIZES = (25, 50, 100, 200)
DEFAULT_PAGE_SIZE = 50


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts at most 10,000 rows, and has no pages beyond.

    Counting a million rows takes PostgreSQL longer than everything else on the page.
    """

    @cached_property
    def _bounded(self) -> tuple[int, bool]:
        return bounded_count(self.object_list)

    @property
    def is_capped(self) -> bool:
        return self._bounded[1]

    @property
    def count(self) -> int:
        return self._bounded[0]


def rows_per_page(request: HttpRequest) -> int:
    """The rows per page of every list, from the settings of the signed-in user."""
    user: Any = request.user
    size: int = user.rows_per_page
    return size


def bounded_count(queryset: Any) -> tuple[int, bool]:
    rows = queryset.order_by().values("pk")
    if rows[MAX_COUNTED : MAX_COUNTED + 1].exists():
        return MAX_COUNTED, True
    return rows[:MAX_COUNTED].count(), False
