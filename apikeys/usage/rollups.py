"""Fold the usage ledger into hourly sums, and prune it.

Totals never differ from the ledger's: hours that aren't folded are read from there, only more slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, models, transaction
from django.db.models.functions import Coalesce, Least
from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.models.rollups import EndpointHour, Figures, FoldState, KeyDay, LimitHour, TouchedHour, UsageHour
from apikeys.usage.partitions import drop_before, in_no_month

HOUR = timedelta(hours=1)
# Leaves time for open transactions after the end of an hour. The triggers note changes from 5 minutes on.
SETTLING = timedelta(minutes=15)
PRUNE_BATCH = 5_000
TABLES: tuple[tuple[type[Figures], tuple[str, ...]], ...] = (
    (UsageHour, ("api_key_id", "user_id", "reason")),
    (EndpointHour, ("api_key_id", "user_id", "reason", "method", "endpoint", "host")),
    (LimitHour, ("rate_limit_id", "reason")),
)
# Adds an hour to its day, or takes it away.
ADD_TO_DAY = """
INSERT INTO key_usage_days (day, api_key_id, user_id, requests, denied)
SELECT %s, api_key_id, user_id, {sign}SUM(requests), {sign}SUM(denied) FROM key_usage_hours WHERE hour = %s
GROUP BY api_key_id, user_id
ON CONFLICT (day, api_key_id, user_id) DO UPDATE SET
    requests = key_usage_days.requests + excluded.requests, denied = key_usage_days.denied + excluded.denied
"""
ALLOWED = models.Q(reason="")
# A report may claim 2^63 − 1 tokens: two of them would overflow the sum.
MAX_PER_EVENT = 10**13


def capped_sum(field: str) -> Any:
    # PostgreSQL's LEAST ignores NULL, so filter it out.
    known = models.Q(**{f"{field}__isnull": False})
    return Coalesce(models.Sum(Least(field, models.Value(MAX_PER_EVENT)), filter=known), 0)


# By the name of the roll-up's field.
LEDGER_SUMS: dict[str, Any] = {
    "requests": models.Count("pk"),
    "denied": models.Count("pk", filter=~ALLOWED),
    "errors": models.Count("pk", filter=ALLOWED & models.Q(status_code__gte=400)),
    "ms_total": Coalesce(models.Sum("response_time_ms"), 0),
    "ms_count": models.Count("response_time_ms"),
    "ms_max": Coalesce(models.Max("response_time_ms"), 0),
    "tokens": capped_sum("tokens_used"),
    "cost": capped_sum("cost_microcents"),
}

Progress = Callable[[str], object]


def no_progress(line: str) -> None:
    pass


def floor_to_hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def fold_state() -> FoldState:
    return FoldState.objects.order_by("pk").first() or FoldState()


def fold(progress: Progress = no_progress, before: datetime | None = None) -> int:
    """Fold each hour that ended long enough ago (and before `before`) and is new or was touched. Returns how many.

    Each hour has its own transaction, so you can stop this at any time.
    """
    end = floor_to_hour(timezone.now() - SETTLING)
    count = 0
    for hour in hours_to_fold(min(end, before) if before else end):
        fold_hour(hour)
        count += 1
        progress(f"Folded {hour:%Y-%m-%d %H}:00 UTC")
    return count


def hours_to_fold(end: datetime) -> Iterator[datetime]:
    reached = fold_state().folded_before
    if reached is not None:
        touched = TouchedHour.objects.filter(hour__lt=min(reached, end))
        yield from touched.order_by("hour").values_list("hour", flat=True).distinct()
    # Skip hours without events.
    while (hour := next_hour_with_events(reached, end)) is not None:
        yield hour
        reached = hour + HOUR
    set_folded_before(end)
    yield from hours_without_hosts(end)


def hours_without_hosts(end: datetime) -> Iterator[datetime]:
    """Folded by a release that didn't know hosts, and still in the ledger; the newest first, which pages need most."""
    known = datetime.max.replace(tzinfo=UTC)
    while (hours := without_hosts(fold_state().pruned_before, min(end, known))) is not None:
        known = hours[1]
        yield known


def without_hosts(start: datetime | None, end: datetime) -> tuple[datetime, datetime] | None:
    """The first and the last of these hours."""
    rows = EndpointHour.objects.filter(host__isnull=True, hour__lt=end)
    if start is not None:
        rows = rows.filter(hour__gte=start)
    first, last = rows.aggregate(first=models.Min("hour"), last=models.Max("hour")).values()
    return None if first is None else (first, last)


def next_hour_with_events(start: datetime | None, end: datetime) -> datetime | None:
    events = KeyUsage.objects.filter(created_at__lt=end)
    if start is not None:
        events = events.filter(created_at__gte=start)
    first = events.order_by("created_at").values_list("created_at", flat=True).first()
    return floor_to_hour(first) if first is not None else None


def locked_state() -> FoldState:
    """Locks out other processes that fold or prune, until the transaction ends."""
    row = FoldState.objects.select_for_update().order_by("pk").first()
    return row or FoldState.objects.get_or_create(pk=1)[0]


def set_folded_before(hour: datetime) -> None:
    with transaction.atomic():
        row = locked_state()
        if row.folded_before is None or row.folded_before < hour:
            row.folded_before = hour
            row.save(update_fields=["folded_before"])


def fold_hour(hour: datetime) -> None:
    """Delete the notes on the hour first, then compute its sums: they include every change whose note was visible.

    A change that isn't committed yet keeps its note, and the hour is folded again.
    """
    with transaction.atomic():
        pruned = locked_state().pruned_before
        TouchedHour.objects.filter(
            pk__in=list(TouchedHour.objects.filter(hour=hour).values_list("pk", flat=True))
        ).delete()
        if pruned is None or hour >= pruned:
            add_to_day(hour, "-")
            for table, groups in TABLES:
                table._default_manager.filter(hour=hour).delete()
                insert_sums(table, groups, hour)
            add_to_day(hour)
        set_folded_before(hour + HOUR)


def add_to_day(hour: datetime, sign: str = "") -> None:
    adapt = connection.ops.adapt_datefield_value, connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute(ADD_TO_DAY.format(sign=sign), [adapt[0](hour.date()), adapt[1](hour)])


def insert_sums(table: type[Figures], groups: tuple[str, ...], hour: datetime) -> None:
    events = KeyUsage.objects.filter(created_at__gte=hour, created_at__lt=hour + HOUR).order_by()
    sums = events.values(*groups).annotate(**LEDGER_SUMS)
    select, parameters = sums.query.sql_with_params()
    quote = connection.ops.quote_name
    columns = ", ".join(quote(name) for name in (*groups, *LEDGER_SUMS))
    into = quote(table._meta.db_table)
    # All names are those of our fields. Django has no INSERT … SELECT.
    statement = f"INSERT INTO {into} (hour, {columns}) SELECT %s, sums.* FROM ({select}) AS sums"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, [connection.ops.adapt_datetimefield_value(hour), *parameters])


def prune(
    before: datetime, progress: Progress = no_progress, *, keep_totals: bool = True, whole_months: bool = False
) -> int:
    """Remove the events before `before` (a full hour); returns how many, or about how many.

    Partitions are dropped whole; other events are deleted in batches, unless `whole_months` leaves them to a later time.
    Their hours are folded first, and keep their sums unless `keep_totals` is false. You can stop this at any time.
    """
    fold(progress, before)
    with transaction.atomic():
        row = locked_state()
        row.pruned_before = max(row.pruned_before or before, before)
        row.save(update_fields=["pruned_before"])
    removed = drop_before(before, progress)
    events = KeyUsage.objects.filter(in_no_month() if whole_months else models.Q(), created_at__lt=before)
    removed += remove_in_batches(events, "events", progress)
    TouchedHour.objects.filter(hour__lt=before).delete()
    if not keep_totals:
        for table, _ in TABLES:
            remove_in_batches(table._default_manager.filter(hour__lt=before), "sums", progress)
        remove_in_batches(KeyDay.objects.filter(day__lt=before.date()), "sums", progress)
    return removed


def remove_in_batches(rows: Any, noun: str, progress: Progress) -> int:
    removed = 0
    while batch := list(rows.order_by("pk").values_list("pk", flat=True)[:PRUNE_BATCH]):
        removed += rows.model._default_manager.filter(pk__in=batch).delete()[0]
        progress(f"Removed {removed:,} {noun}")
    return removed
