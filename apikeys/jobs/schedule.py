"""What runs regularly, and how often (docs/deployment.md, “Regular jobs”)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from accounts.models import BulkChange
from apikeys.models import Job

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# A job is overdue if it should have run this long ago: then nothing runs jobs, or one of them takes very long.
GRACE = 15 * MINUTE


@dataclass(frozen=True)
class Scheduled:
    """A command with its arguments. purpose: what it does, as a sentence for staff. is_wanted: whether it shouldn't wait."""

    name: str
    every: timedelta
    purpose: str
    arguments: tuple[str, ...] = ()
    is_wanted: Callable[[], bool] = bool


def scheduled() -> list[Scheduled]:
    jobs = [
        Scheduled("fold_usage", 5 * MINUTE, "Adds up usage by the hour, so that usage pages stay fast."),
        Scheduled("notify_expiring_keys", HOUR, "Emails owners before their keys expire."),
        Scheduled("sweep_counters", HOUR, "Removes expired rate limit counters and old records of denials."),
        Scheduled("clearsessions", DAY, "Removes expired sessions."),
        Scheduled(
            "change_users",
            HOUR,
            "Makes changes to more than 10,000 users that staff have confirmed.",
            is_wanted=BulkChange.objects.unfinished().exists,
        ),
    ]
    partitioned = connection.vendor == "postgresql"
    if partitioned:
        jobs.append(Scheduled("partition_usage", DAY, "Creates the partitions for usage events of the coming months."))
    if days := settings.KEEP_USAGE_DAYS:
        what = "months of usage events" if partitioned else "usage events"
        whole = ("--whole-months",) if partitioned else ()
        jobs.append(
            Scheduled("prune_usage", DAY, f"Removes {what} older than {days:,} days.", (f"--days={days}", *whole))
        )
    if days := settings.KEEP_DELETED_DAYS:
        purpose = f"Permanently removes what was deleted more than {days:,} days ago."
        jobs.append(Scheduled("purge_deleted", DAY, purpose, ("--yes", f"--days={days}")))
    return jobs


def rows() -> QuerySet[Job]:
    """The jobs of this schedule: there may be others, from a time with other settings."""
    return Job.objects.filter(name__in=[job.name for job in scheduled()])
