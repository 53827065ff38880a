"""What keys did, added up: from the roll-ups as far as they hold, from the ledger for the rest, in one statement.

A total is never taken from a page of rows, and always the ledger's. The cost depends on the hours and keys asked for,
not on the number of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models.functions import TruncDate, TruncHour
from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.models.rollups import EndpointHour, Figures, TouchedHour, UsageHour
from apikeys.usage.rollups import HOUR, LEDGER_SUMS, state

# Each range becomes a condition; beyond that many, all from the first of them on is read from the ledger.
MOST_RANGES = 40
DAY = timedelta(days=1)


class Window(NamedTuple):
    """From `start` up to `end`, whole hours of UTC, the end not included."""

    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, first: date, last: date) -> Window:
        """The UTC days from `first` to `last`, both included."""
        return cls(datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC) + DAY)

    @classmethod
    def of_last_days(cls, number: int) -> Window:
        """So many UTC days, today the last."""
        today = timezone.now().date()
        return cls.of_days(today - timedelta(days=number - 1), today)

    @property
    def days(self) -> list[date]:
        first = self.start.date()
        return [first + timedelta(days=number) for number in range((self.end - self.start).days)]

    @property
    def hours(self) -> list[datetime]:
        return [self.start + HOUR * number for number in range(int((self.end - self.start) / HOUR))]


@dataclass(frozen=True)
class Scope:
    """Whose events, and which: each that is given narrows. An empty `keys` means no key at all."""

    user_id: int | None = None
    tier_id: int | None = None
    keys: tuple[UUID, ...] | None = None
    endpoint: str = ""

    @property
    def condition(self) -> models.Q:
        condition = models.Q()
        if self.user_id is not None:
            condition &= models.Q(user_id=self.user_id)
        if self.tier_id is not None:
            condition &= models.Q(user__tier_id=self.tier_id)
        if self.keys is not None:
            condition &= models.Q(api_key_id__in=self.keys)
        if self.endpoint:
            condition &= models.Q(endpoint=self.endpoint)
        return condition


class Sums(NamedTuple):
    """`refused`: denied by us. `errors`: let through and answered 4xx or 5xx. Cost in millionths of a cent, times in ms."""

    requests: int = 0
    refused: int = 0
    errors: int = 0
    ms_total: int = 0
    ms_count: int = 0
    ms_max: int = 0
    tokens: int = 0
    cost: int = 0

    @property
    def allowed(self) -> int:
        return self.requests - self.refused

    @property
    def ms_average(self) -> int | None:
        return round(self.ms_total / self.ms_count) if self.ms_count else None


def added(parts: Iterable[Sums]) -> Sums:
    """The sums of all parts together."""
    parts = list(parts)
    together = Sums(*map(sum, zip(*parts, strict=True))) if parts else Sums()
    return together._replace(ms_max=max((part.ms_max for part in parts), default=0))


def added_by(place: int, parts: Iterable[tuple[tuple[Any, ...], Sums]]) -> dict[Any, Sums]:
    """What `sums_by` answered, added up by the value of one of its groups: the one at `place`."""
    members: dict[Any, list[Sums]] = {}
    for group, sums in parts:
        members.setdefault(group[place], []).append(sums)
    return {value: added(several) for value, several in members.items()}


# How a group is called in the roll-up and computed from the ledger.
GROUPS: dict[str, tuple[Any, Any]] = {
    "day": (TruncDate("hour", tzinfo=UTC), TruncDate("created_at", tzinfo=UTC)),
    "hour": (models.F("hour"), TruncHour("created_at", tzinfo=UTC)),
    "key": (models.F("api_key_id"), models.F("api_key_id")),
    "user": (models.F("user_id"), models.F("user_id")),
    "reason": (models.F("reason"), models.F("reason")),
    "method": (models.F("method"), models.F("method")),
    "endpoint": (models.F("endpoint"), models.F("endpoint")),
}
OF_ENDPOINTS = {"endpoint", "method"}


def totals(scope: Scope, window: Window) -> Sums:
    rows = sums_by((), scope, window)
    return rows[0][1] if rows else Sums()


def sums_by(
    groups: Sequence[str], scope: Scope, window: Window, *, most: int | None = None
) -> list[tuple[tuple[Any, ...], Sums]]:
    """The sums of each combination of `groups` (names in GROUPS): [((value, …), Sums)], the busiest first.

    most: at most that many of them. A combination without events is not in the list.
    """
    table = EndpointHour if scope.endpoint or OF_ENDPOINTS & set(groups) else UsageHour
    parts = list(compiled(list(sources(table, groups, scope, window))))
    if not parts:
        return []
    names = [f"g{number}" for number in range(len(groups))]
    added = [f"{'MAX' if name == 'ms_max' else 'SUM'}({name})" for name in LEDGER_SUMS]
    union = " UNION ALL ".join(sql for sql, _ in parts)
    by = f"GROUP BY {', '.join(names)}" if names else "HAVING COUNT(*) > 0"
    limit = f"LIMIT {most:d}" if most else ""
    # All names are ours, and all values stand in the parameters.
    statement = (
        f"SELECT {', '.join([*names, *added])} FROM ({union}) AS figures {by} "  # noqa: S608
        f"ORDER BY {', '.join(['SUM(requests) DESC', *names])} {limit}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [parameter for _, parameters in parts for parameter in parameters])
        rows = cursor.fetchall()
    size = len(groups)
    return [
        (tuple(map(read_group, groups, row[:size])), Sums(*(int(value or 0) for value in row[size:]))) for row in rows
    ]


def read_group(group: str, value: Any) -> Any:
    """A group's value as Python has it: SQLite answers a plain statement with text."""
    if not isinstance(value, str):
        return value.astimezone(UTC) if isinstance(value, datetime) else value
    if group == "key":
        return UUID(value)
    if group == "day":
        return date.fromisoformat(value)
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if group == "hour" else value


def compiled(querysets: Iterable[Any]) -> Iterable[tuple[str, tuple[Any, ...]]]:
    for queryset in querysets:
        try:
            yield queryset.query.sql_with_params()
        except EmptyResultSet:
            continue


def sources(table: type[Figures], groups: Sequence[str], scope: Scope, window: Window) -> Iterable[Any]:
    """The roll-ups for the hours that are folded and untouched, and the ledger for all others: no event twice or never."""
    start, boundary = window.start, min(max(folded_before(), window.start), window.end)
    ranges = touched_ranges(start, boundary)
    if len(ranges) > MOST_RANGES:
        boundary, ranges = ranges[0][0], []
    if boundary > start:
        rolled = table._default_manager.filter(scope.condition, hour__gte=start, hour__lt=boundary)
        for first, end in ranges:
            rolled = rolled.exclude(hour__gte=first, hour__lt=end)
        yield grouped(rolled, [GROUPS[name][0] for name in groups], rolled_sums())
    for first, end in [*ranges, (boundary, window.end)]:
        if first < end:
            events = KeyUsage.objects.filter(scope.condition, created_at__gte=first, created_at__lt=end)
            yield grouped(events, [GROUPS[name][1] for name in groups], LEDGER_SUMS)


def folded_before() -> datetime:
    return state().folded_before or datetime.min.replace(tzinfo=UTC)


def touched_ranges(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The hours in which events changed since they were folded, neighbours joined. Pruned hours are as they are."""
    first = max(start, state().pruned_before or start)
    hours = TouchedHour.objects.filter(hour__gte=first, hour__lt=end).order_by("hour").values_list("hour", flat=True)
    ranges: list[tuple[datetime, datetime]] = []
    for hour in hours.distinct():
        if ranges and ranges[-1][1] == hour:
            ranges[-1] = (ranges[-1][0], hour + HOUR)
        else:
            ranges.append((hour, hour + HOUR))
    return ranges


def rolled_sums() -> dict[str, Any]:
    return {name: models.Max(name) if name == "ms_max" else models.Sum(name) for name in LEDGER_SUMS}


def grouped(rows: Any, groups: Sequence[Any], sums: dict[str, Any]) -> Any:
    names = {f"g{number}": group for number, group in enumerate(groups)}
    one = {} if names else {"whole": models.Value(1)}
    return rows.order_by().values(**names, **one).annotate(**sums)


def daily_requests(keys: Sequence[UUID], days: int) -> dict[UUID, list[int]]:
    """The requests of each key on each of the last `days` UTC days, oldest first, in one statement for all keys."""
    window = Window.of_last_days(days)
    counts = {key: dict.fromkeys(window.days, 0) for key in keys}
    for (key, day), sums in sums_by(("key", "day"), Scope(keys=tuple(keys)), window):
        counts[key][day] += sums.requests
    return {key: list(by_day.values()) for key, by_day in counts.items()}
