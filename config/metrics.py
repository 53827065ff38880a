"""/metrics for Prometheus (docs/metrics.md): what the processes of this server counted, and figures from the database."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from apikeys.gateway.peers import is_among
from apikeys.jobs import schedule
from apikeys.models import APIKey
from config.base.database import drop_connection
from config.base.http import client_address, problem
from config.base.metrics import collector

logger = logging.getLogger(__name__)

EXPIRY_DAYS = (1, 7, 14, 30)
OLDEST_TRANSACTION = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    if not may_read(request):
        logger.warning("A peer that is not in METRICS_TRUSTED asked for /metrics")
        return problem(403, "Forbidden", "Only addresses in METRICS_TRUSTED can read metrics.")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector())
    registry.register(DatabaseCollector())
    return HttpResponse(
        generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4, headers={"Cache-Control": "no-store"}
    )


def may_read(request: HttpRequest) -> bool:
    """Whether both the peer and, behind trusted proxies, the client it speaks for are in METRICS_TRUSTED."""
    trusted = settings.METRICS_TRUSTED
    return is_among(request.META.get("REMOTE_ADDR") or "", trusted) and is_among(client_address(request), trusted)


class DatabaseCollector(Collector):
    """Figures that every server reports alike. Without the database, only that it's down."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        up = GaugeMetricFamily("gatehouse_database_up", "Whether the database answers: 1 or 0.")
        try:
            families = [keys_expiring(), oldest_transaction(), *jobs()]
        except (DatabaseError, InterfaceError):
            logger.exception("The database has no figures for /metrics")
            drop_connection()
            families = []
        up.add_metric([], int(bool(families)))
        return [up, *families]


def jobs() -> list[GaugeMetricFamily]:
    # Prometheus itself has a label “job”.
    last = GaugeMetricFamily(
        "gatehouse_job_last_run_timestamp_seconds", "When the job last began.", labels=["job_name"]
    )
    duration = GaugeMetricFamily("gatehouse_job_duration_seconds", "How long its last run took.", labels=["job_name"])
    succeeded = GaugeMetricFamily(
        "gatehouse_job_succeeded", "Whether its last run succeeded: 1 or 0.", labels=["job_name"]
    )
    overdue = GaugeMetricFamily("gatehouse_job_overdue", "Whether it's overdue: 1 or 0.", labels=["job_name"])
    for job in schedule.rows():
        overdue.add_metric([job.name], int(job.is_overdue(schedule.GRACE)))
        if job.began_at is not None and job.duration is not None:
            last.add_metric([job.name], job.began_at.timestamp())
            duration.add_metric([job.name], job.duration.total_seconds())
            succeeded.add_metric([job.name], int(bool(job.is_ok)))
    return [last, duration, succeeded, overdue]


def oldest_transaction() -> GaugeMetricFamily:
    """Has no sample on SQLite, which doesn't have this figure."""
    family = GaugeMetricFamily(
        "gatehouse_database_oldest_transaction_seconds", "How long the oldest open transaction has been open."
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(OLDEST_TRANSACTION)
            family.add_metric([], float(cursor.fetchone()[0]))
    return family


def keys_expiring() -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "gatehouse_keys_expiring", "API keys in use that expire within this many days.", labels=["days"]
    )
    now = timezone.now()
    ends = {str(days): now + dt.timedelta(days=days) for days in EXPIRY_DAYS}
    soon = APIKey.objects.usable().filter(expires_at__gt=now, expires_at__lte=max(ends.values()))
    counts = soon.aggregate(
        **{f"within_{days}": Count("pk", filter=Q(expires_at__lte=end)) for days, end in ends.items()}
    )
    for days in ends:
        family.add_metric([days], counts[f"within_{days}"])
    return family
