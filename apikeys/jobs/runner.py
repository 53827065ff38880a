"""Run jobs that are due: each by one process at a time, however many machines run this."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from io import StringIO

from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Q
from django.utils import timezone

from apikeys.jobs.schedule import MINUTE, Scheduled, scheduled
from apikeys.models import Job
from config.base.logs import without_secrets

logger = logging.getLogger(__name__)

# If a process dies, another can take over after LEASE. A live one renews its lease three times before.
LEASE = 2 * MINUTE
RENEW_SECONDS = 30
RETRY_AFTER = 5 * MINUTE
MAX_OUTPUT = 2_000


def create_missing() -> None:
    Job.objects.bulk_create([Job(name=job.name) for job in scheduled()], ignore_conflicts=True)


def run_due() -> list[Job]:
    """Run what is due, and return it."""
    create_missing()
    return [run(job) for job in scheduled() if claim(job)]


def node() -> str:
    return f"{socket.gethostname()[:80]}, process {os.getpid()}"


def clock() -> datetime:
    """The database's time. A node whose own is wrong could otherwise take over a running job, or leave a job undone."""
    if connection.vendor == "sqlite":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now  # type: ignore[no-any-return]


def claim(job: Scheduled) -> bool:
    """Whether this process may run the job now: one conditional update, so that only one process may."""
    now = clock()
    is_free = Q(leased_until=None) | Q(leased_until__lte=now)
    is_due = Q() if job.is_wanted() else Q(next_at__lte=now)
    due = Job.objects.filter(is_free, is_due, name=job.name)
    return due.update(runner=node(), leased_until=now + LEASE, began_at=now, next_at=now + job.every) == 1


def run(job: Scheduled) -> Job:
    output = StringIO()
    is_ok = False
    try:
        with prolonged_lease(job):
            call_command(job.name, *job.arguments, stdout=output, stderr=output, no_color=True)
        is_ok = True
    except KeyboardInterrupt:
        output.write("Stopped. It runs again soon.")
        raise
    except Exception as error:
        logger.exception("The job %s failed", job.name)
        output.write(f"{type(error).__name__}: {error}")
    finally:
        finish(job, output.getvalue(), is_ok=is_ok)
    return Job.objects.get(name=job.name)


def finish(job: Scheduled, output: str, *, is_ok: bool) -> None:
    now = clock()
    row = Job.objects.get(name=job.name)
    values = {
        "is_ok": is_ok,
        "output": without_secrets(output.strip()[-MAX_OUTPUT:]),
        "duration": now - (row.began_at or now),
        "leased_until": None,
    }
    if not is_ok:
        values["next_at"] = min(row.next_at, now + RETRY_AFTER)
    Job.objects.filter(name=job.name, runner=node()).update(**values)


@contextmanager
def prolonged_lease(job: Scheduled) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=prolong, args=(job, over), name="job-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def prolong(job: Scheduled, over: threading.Event, every: float = RENEW_SECONDS) -> None:
    """Runs in a separate thread until `over`."""
    while not over.wait(every):
        try:
            Job.objects.filter(name=job.name, runner=node()).update(leased_until=clock() + LEASE)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The lease of %s could not be prolonged: %s", job.name, error)
        finally:
            connection.close()


def run_soon(name: str) -> bool:
    """Make the job due now. False if it already is, or runs."""
    now = clock()
    waiting = Job.objects.filter(Q(leased_until=None) | Q(leased_until__lte=now), name=name, next_at__gt=now)
    return waiting.update(next_at=now) == 1
