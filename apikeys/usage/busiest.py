"""The busiest keys, users and tiers of a period, in one statement.

From the folded hours or days, and from the ledger since then. An hour that changes after it was folded counts as it was
until it's folded again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, QuerySet

from apikeys.models import KeyUsage
from apikeys.models.rollups import KeyDay, UsageHour
from apikeys.models.usage import DENIED
from apikeys.usage.analytics import TimeRange, boundary_of
from apikeys.usage.rollups import fold_state

MAX_DAYS_BY_HOUR = 2
# A key fails if at least so many of its requests, and more than half of them, were denied.
MIN_FAILURES = 20
# All names are ours, and all values are parameters.
STATEMENT = """
WITH by_key AS (
    SELECT api_key_id, user_id, SUM(requests) AS requests, SUM(denied) AS denied
    FROM ({parts}) AS parts GROUP BY api_key_id, user_id HAVING SUM(requests) > 0
)
SELECT * FROM (SELECT 'key', CAST(api_key_id AS text) AS id, requests, denied FROM by_key ORDER BY 3 DESC, 2 LIMIT %s) AS keys
UNION ALL SELECT * FROM (
    SELECT 'user', CAST(user_id AS text), SUM(requests), SUM(denied) FROM by_key GROUP BY user_id ORDER BY 3 DESC, 2 LIMIT %s
) AS users
UNION ALL SELECT * FROM (
    SELECT 'tier', CAST(tier_id AS text), SUM(requests), SUM(denied) FROM by_key JOIN "user" ON "user".id = user_id
    WHERE tier_id IS NOT NULL GROUP BY tier_id ORDER BY 3 DESC, 2 LIMIT %s
) AS tiers
UNION ALL SELECT * FROM (
    SELECT 'failing', CAST(api_key_id AS text), requests, denied FROM by_key
    WHERE denied >= %s AND denied * 2 > requests ORDER BY 4 DESC, 2 LIMIT %s
) AS failing
"""


class Busy(NamedTuple):
    pk: Any
    requests: int
    denied: int


class Busiest(NamedTuple):
    """The most requests first; of `failing`, the most denials."""

    keys: list[Busy]
    users: list[Busy]
    tiers: list[Busy]
    failing: list[Busy]


def busiest(time_range: TimeRange, limit: int, *, users: int | None = None) -> Busiest:
    """limit: of each list; of users, `users` if given."""
    sql, parameters = parts_of(time_range)
    limits = [limit, users or limit, limit, MIN_FAILURES, limit]
    with connection.cursor() as cursor:
        cursor.execute(STATEMENT.format(parts=sql), [*parameters, *limits])
        rows = cursor.fetchall()
    return Busiest(
        *(list(busy(rows, kind, of)) for kind, of in (("key", UUID), ("user", int), ("tier", int), ("failing", UUID)))
    )


def busy(rows: Iterable[tuple[Any, ...]], kind: str, of: type) -> Iterable[Busy]:
    return (Busy(of(pk), int(requests), int(denied)) for name, pk, requests, denied in rows if name == kind)


def parts_of(time_range: TimeRange) -> tuple[str, tuple[Any, ...]]:
    """(api_key_id, user_id, requests, denied), in one or more rows for each."""
    start, end = time_range
    boundary = boundary_of(fold_state(), time_range)
    folded: QuerySet[Any]
    if (end - start).days <= MAX_DAYS_BY_HOUR:
        folded = UsageHour.objects.filter(hour__gte=start, hour__lt=boundary)
    else:
        folded = KeyDay.objects.filter(day__gte=start.date(), day__lt=end.date())
    events = KeyUsage.objects.filter(created_at__gte=boundary, created_at__lt=end).order_by()
    names = ("api_key_id", "user_id")
    rows = folded.values_list(*names, "requests", "denied")
    recent = events.values_list(*names).annotate(total=Count("pk"), denied=Count("pk", filter=DENIED))
    return rows.union(recent, all=True).query.sql_with_params()
