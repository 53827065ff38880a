"""Usage totals, in one statement: folded hours from the roll-ups, everything else from the ledger.

Totals always equal those of the ledger. Their cost depends on the number of hours and keys, and on the events since the last
folded hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models.functions import Coalesce, TruncDate, TruncHour
from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.models.rollups import EndpointHour, Figures, FoldState, LimitHour, TouchedHour, UsageHour
from apikeys.usage.rollups import HOUR, LEDGER_SUMS, fold_state, without_hosts
from ratelimits.budgets import dollars

# Each range of touched hours is a condition. If there are more, everything from the first on is read from the ledger.
MAX_RANGES = 40
DAY = timedelta(days=1)


class TimeRange(NamedTuple):
    """Whole hours in UTC, from `start` up to but not including `end`."""

    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, first: date, last: date) -> TimeRange:
        """Including `last`."""
        return cls(datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC) + DAY)

    @classmethod
    def of_last_days(cls, number: int) -> TimeRange:
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
class UsageScope:
    """Which events to count. An empty `keys` means none."""

    user_id: int | None = None
    tier_id: int | None = None
    keys: tuple[UUID, ...] | None = None
    endpoint: str = ""
    host: str = ""

    @property
    def condition(self) -> models.Q:
        wanted = {
            "user_id": self.user_id,
            "user__tier_id": self.tier_id,
            "api_key_id__in": self.keys,
            "endpoint": self.endpoint or None,
            "host": self.host or None,
        }
        return models.Q(**{name: value for name, value in wanted.items() if value is not None})


class Sums(NamedTuple):
    """errors: allowed, and answered with 4xx or 5xx. Times in ms, cost in microcents."""

    requests: int = 0
    denied: int = 0
    errors: int = 0
    ms_total: int = 0
    ms_count: int = 0
    ms_max: int = 0
    tokens: int = 0
    cost: int = 0

    @property
    def allowed(self) -> int:
        return self.requests - self.denied

    @property
    def cost_in_dollars(self) -> str:
        return dollars(self.cost)

    @property
    def ms_average(self) -> int | None:
        return round(self.ms_total / self.ms_count) if self.ms_count else None


SumsRow = tuple[tuple[Any, ...], Sums]


def add_up(parts: Iterable[Sums]) -> Sums:
    parts = list(parts)
    total = Sums(*map(sum, zip(*parts, strict=True))) if parts else Sums()
    return total._replace(ms_max=max((part.ms_max for part in parts), default=0))


def add_up_by(index: int, rows: Iterable[SumsRow]) -> dict[Any, Sums]:
    parts: dict[Any, list[Sums]] = {}
    for group, sums in rows:
        parts.setdefault(group[index], []).append(sums)
    return {value: add_up(several) for value, several in parts.items()}


class UtcDay(TruncDate):
    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        return cut(self, compiler, "SUBSTR({}, 1, 10)")


class UtcHour(TruncHour):
    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        return cut(self, compiler, "SUBSTR({}, 1, 13) || ':00:00'")


def cut(time: Any, compiler: Any, form: str) -> tuple[str, Any]:
    """Text in UTC, which SQLite stores. Django would call a function in Python for every row."""
    sql, parameters = compiler.compile(time.lhs)
    return form.format(sql), parameters


# Each group's expression in the roll-ups and in the ledger.
GROUPS: dict[str, tuple[Any, Any]] = {
    "day": (UtcDay("hour", tzinfo=UTC), UtcDay("created_at", tzinfo=UTC)),
    "hour": (models.F("hour"), UtcHour("created_at", tzinfo=UTC)),
    "key": (models.F("api_key_id"), models.F("api_key_id")),
    "user": (models.F("user_id"), models.F("user_id")),
    "reason": (models.F("reason"), models.F("reason")),
    "method": (models.F("method"), models.F("method")),
    "endpoint": (models.F("endpoint"), models.F("endpoint")),
    # Of pruned hours, the host may not be known; then it counts as none.
    "host": (Coalesce("host", models.Value("")), models.F("host")),
    "limit": (models.F("rate_limit_id"), models.F("rate_limit_id")),
}
ENDPOINT_GROUPS = {"endpoint", "method", "host"}


class Breakdown(NamedTuple):
    """A row for each combination of `groups` (names in GROUPS) that has events, or only the `limit` busiest.

    By limit, the scope must be empty, and the groups can't be of keys, users or endpoints.
    """

    groups: tuple[str, ...] = ()
    limit: int | None = None

    def table(self, scope: UsageScope) -> type[Figures]:
        if "limit" in self.groups:
            return LimitHour
        return EndpointHour if scope.endpoint or scope.host or ENDPOINT_GROUPS & set(self.groups) else UsageHour


def totals(scope: UsageScope, time_range: TimeRange) -> Sums:
    rows = sums_by((), scope, time_range)
    return rows[0][1] if rows else Sums()


def sums_by(groups: Sequence[str], scope: UsageScope, time_range: TimeRange) -> list[SumsRow]:
    return breakdowns({"only": Breakdown(tuple(groups))}, scope, time_range)["only"]


def breakdowns(wanted: Mapping[str, Breakdown], scope: UsageScope, time_range: TimeRange) -> dict[str, list[SumsRow]]:
    """By the names in `wanted`: ((value, …), Sums) for each row, the busiest first.

    In one statement, which reads each roll-up, and the events that are not in it yet, only once.
    """
    numbered = list(wanted.values())
    found: list[list[SumsRow]] = [[] for _ in numbered]
    statement, parameters = statement_of(numbered, scope, time_range)
    if statement:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            for number, *values in cursor.fetchall():
                found[number].append(as_row(numbered[number].groups, values))
    return dict(zip(wanted, found, strict=True))


def as_row(groups: Sequence[str], values: Sequence[Any]) -> SumsRow:
    sums = values[-len(LEDGER_SUMS) :]
    return tuple(map(group_value, groups, values)), Sums(*(int(value or 0) for value in sums))


def group_value(group: str, value: str | None) -> Any:
    return FROM_TEXT.get(group, str)(value) if value is not None else None


def utc_from_text(value: str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "day": date.fromisoformat,
    "hour": utc_from_text,
    "key": UUID,
    "user": int,
    "limit": int,
}


def statement_of(wanted: Sequence[Breakdown], scope: UsageScope, time_range: TimeRange) -> tuple[str, list[Any]]:
    """Adds up each breakdown. All names are ours, and all values are parameters. Empty if there is nothing to read."""
    width = max(len(breakdown.groups) for breakdown in wanted)
    queries, selects, parameters = [], [], []
    for table in {breakdown.table(scope): None for breakdown in wanted}:
        of_table = {number: one for number, one in enumerate(wanted) if one.table(scope) is table}
        groups = list(dict.fromkeys(name for breakdown in of_table.values() for name in breakdown.groups))
        parts = list(compiled(querysets(table, groups, scope, time_range)))
        if parts:
            queries.append(f"{table.__name__} AS ({' UNION ALL '.join(sql for sql, _ in parts)})")
            selects += [select(number, one, table.__name__, width) for number, one in of_table.items()]
            parameters += [value for _, values in parts for value in values]
    if not selects:
        return "", []
    order = ", ".join(["number", "requests DESC", *(f"g{place}" for place in range(width))])
    return f"WITH {', '.join(queries)} {' UNION ALL '.join(selects)} ORDER BY {order}", parameters


def select(number: int, breakdown: Breakdown, source: str, width: int) -> str:
    """`width` groups, as text: in a union, each column has one type."""
    names = [f"by_{group}" for group in breakdown.groups]
    padded = [*names, *["NULL"] * (width - len(names))]
    groups = [f"CAST({name} AS text) AS g{place}" for place, name in enumerate(padded)]
    sums = [f"{'MAX' if name == 'ms_max' else 'SUM'}({name}) AS {name}" for name in LEDGER_SUMS]
    columns = ", ".join([f"{number} AS number", *groups, *sums])
    by = f"GROUP BY {', '.join(names)}" if names else "HAVING COUNT(*) > 0"
    limit = f"ORDER BY {', '.join(['SUM(requests) DESC', *names])} LIMIT {breakdown.limit:d}" if breakdown.limit else ""
    return f"SELECT * FROM (SELECT {columns} FROM {source} {by} {limit}) AS breakdown{number}"  # noqa: S608


def compiled(rows: Iterable[Any]) -> Iterable[tuple[str, tuple[Any, ...]]]:
    for queryset in rows:
        try:
            yield queryset.query.sql_with_params()
        except EmptyResultSet:
            continue


def querysets(table: type[Figures], groups: Sequence[str], scope: UsageScope, time_range: TimeRange) -> Iterable[Any]:
    """The roll-ups of hours that are folded and untouched, and the ledger of all others: each event exactly once."""
    state = fold_state()
    start, boundary = time_range.start, boundary_of(state, time_range)
    # Pruned hours never change.
    first = max(start, state.pruned_before or start)
    ranges = touched_ranges(first, boundary)
    if scope.host or "host" in groups:
        ranges = joined([*ranges, *hostless_ranges(first, boundary)])
    if len(ranges) > MAX_RANGES:
        boundary, ranges = ranges[0][0], []
    if boundary > start:
        rolled = table._default_manager.filter(scope.condition, hour__gte=start, hour__lt=boundary)
        for first, end in ranges:
            rolled = rolled.exclude(hour__gte=first, hour__lt=end)
        yield grouped(rolled, {name: GROUPS[name][0] for name in groups}, rolled_sums())
    for first, end in [*ranges, (boundary, time_range.end)]:
        if first < end:
            events = KeyUsage.objects.filter(scope.condition, created_at__gte=first, created_at__lt=end)
            yield grouped(events, {name: GROUPS[name][1] for name in groups}, LEDGER_SUMS)


def grouped(rows: Any, groups: dict[str, Any], sums: dict[str, Any]) -> Any:
    names = {f"by_{name}": expression for name, expression in groups.items()}
    one = {} if names else {"whole": models.Value(1)}
    return rows.order_by().values(**names, **one).annotate(**sums)


def rolled_sums() -> dict[str, Any]:
    return {name: models.Max(name) if name == "ms_max" else models.Sum(name) for name in LEDGER_SUMS}


def boundary_of(state: FoldState, time_range: TimeRange) -> datetime:
    """Hours before it are folded."""
    start, end = time_range
    return min(max(state.folded_before or start, start), end)


def touched_ranges(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The hours with changes since they were folded, adjacent ones merged."""
    hours = TouchedHour.objects.filter(hour__gte=start, hour__lt=end).order_by("hour").values_list("hour", flat=True)
    return joined((hour, hour + HOUR) for hour in hours.distinct())


def hostless_ranges(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """One range around all hours whose hosts are only in the ledger; none once those are folded again."""
    hours = without_hosts(start, end)
    return [(hours[0], hours[1] + HOUR)] if hours is not None else []


def joined(ranges: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """In order, with those that overlap or touch as one."""
    result: list[tuple[datetime, datetime]] = []
    for first, end in sorted(ranges):
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((first, end))
    return result


def daily_requests(keys: Sequence[UUID], days: int) -> dict[UUID, list[int]]:
    """The requests of each key on each of the last `days` days in UTC, oldest first."""
    time_range = TimeRange.of_last_days(days)
    counts = {key: dict.fromkeys(time_range.days, 0) for key in keys}
    for (key, day), sums in sums_by(("key", "day"), UsageScope(keys=tuple(keys)), time_range):
        counts[key][day] += sums.requests
    return {key: list(by_day.values()) for key, by_day in counts.items()}
