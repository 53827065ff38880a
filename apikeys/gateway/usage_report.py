"""POST /authz/usage: services report the outcome of requests. Only the first report of an event counts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.http import HttpResponse, JsonResponse
from django.utils import timezone

from apikeys.decision.ledger import storable
from apikeys.decision.statements import database_time, identifier
from apikeys.gateway import json_input
from apikeys.gateway.charges import charge_limits
from apikeys.gateway.json_input import InvalidInput
from apikeys.models import KeyUsage
from apikeys.secrets import masked
from config.base.http import problem
from config.base.metrics import USAGE_REPORTS

MAX_BATCH = 1_000
MAX_BODY_BYTES = 2_000_000
MAX_BIGINT = 2**63 - 1
MAX_INT = 2**31 - 1
FIELDS: dict[str, json_input.Reader] = {
    "event_id": json_input.uuid,
    "status_code": json_input.whole_number(100, 599),
    "response_time_ms": json_input.whole_number(0, MAX_INT),
    "tokens_used": json_input.whole_number(0, MAX_BIGINT),
    "cost_microcents": json_input.whole_number(0, MAX_BIGINT),
    "error_message": json_input.text(2_000),
    "metadata": json_input.json_object(10_000),
}
UPDATE = """
UPDATE key_usage SET
    status_code = COALESCE(%s, status_code), response_time_ms = %s, tokens_used = %s, cost_microcents = %s,
    error_message = %s, metadata = %s, reported_at = %s, updated_at = %s
WHERE id = %s
"""

Report = dict[str, Any]


def usage(environ: Mapping[str, Any]) -> HttpResponse:
    try:
        reports = read_reports(environ)
    except InvalidInput as error:
        return problem(error.status, error.title, str(error))
    return JsonResponse(record(reports), headers={"Cache-Control": "no-store"})


def read_reports(environ: Mapping[str, Any]) -> list[Report]:
    given = json_input.read_json(environ, MAX_BODY_BYTES)
    if isinstance(given, dict):
        given = json_input.read_fields(given, {"events": lambda value: value}).get("events")
    if not isinstance(given, list):
        raise InvalidInput("Send a list of events, or an object with a list in “events”.")
    if len(given) > MAX_BATCH:
        raise InvalidInput(f"Send at most {MAX_BATCH:,} events at once. This batch has {len(given):,}.")
    return [read_report(item, number) for number, item in enumerate(given)]


def read_report(item: Any, number: int) -> Report:
    report = json_input.read_fields(item, FIELDS, where=f"Event {number}")
    if "event_id" not in report:
        raise InvalidInput(f"Event {number}: event_id is required.")
    return report


def record(reports: Sequence[Report]) -> dict[str, Any]:
    """Write the reports, and charge them to limits in tokens or cost, in one transaction.

    Returns how many events were `recorded`, how many were left `unchanged` (already reported, or denied), and the
    `unknown` IDs.
    """
    # The first report of each event.
    by_event = {report["event_id"]: report for report in reversed(reports)}
    with transaction.atomic():
        events = locked_events(by_event)
        # Denied requests never reached the API, so their events stay as they are.
        open_events = [event for event in events if event.reported_at is None and not event.reason]
        update_events([by_event[event.id] for event in open_events])
        charge_limits((event, by_event[event.id]) for event in open_events)
    known = {event.id for event in events}
    unknown = [str(event_id) for event_id in by_event if event_id not in known]
    recorded = len(open_events)
    unchanged = sum(report["event_id"] in known for report in reports) - recorded
    for result, number in (("recorded", recorded), ("unchanged", unchanged), ("unknown", len(unknown))):
        USAGE_REPORTS.labels(result).inc(number)
    return {"recorded": recorded, "unchanged": unchanged, "unknown": unknown}


def locked_events(ids: Collection[UUID]) -> list[KeyUsage]:
    """Sorted, so that two batches can't deadlock."""
    found = KeyUsage.objects.filter(pk__in=ids).select_for_update(no_key=True).order_by("pk")
    return list(found.only("user_id", "host", "method", "endpoint", "reason", "reported_at"))


def update_events(reports: Sequence[Report]) -> None:
    now = database_time(timezone.now())
    if reports:
        with connection.cursor() as cursor:
            cursor.executemany(UPDATE, [as_row(report, now) for report in reports])


def as_row(report: Mapping[str, Any], now: Any) -> tuple[Any, ...]:
    event_id: UUID = report["event_id"]
    metadata = report.get("metadata")
    return (
        report.get("status_code"),
        report.get("response_time_ms"),
        report.get("tokens_used"),
        report.get("cost_microcents"),
        masked(storable(report.get("error_message", ""))),
        None if metadata is None else masked(json.dumps(metadata)),
        now,
        now,
        identifier(event_id),
    )
