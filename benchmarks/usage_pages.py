"""Measure the figures of the usage page with ledgers of growing size, folded and not. Prints a row for each.

    DEBUG=1 DATABASE_URL=… python benchmarks/usage_pages.py 10000 1000000

Events of 30 days for 20 keys and 50 endpoints are created by one INSERT … SELECT in a test database (test_…).
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.db import connection
from django.http import QueryDict
from django.test.utils import setup_databases, teardown_databases
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, EndpointHour, KeyUsage, TouchedHour, UsageHour
from apikeys.services import issue_key
from apikeys.usage import rollups
from apikeys.usage.analytics import daily_requests
from apikeys.usage.forms import StaffUsageForm
from apikeys.usage.views import figures
from config.base.history import Author

DAYS, KEYS, ENDPOINTS = 30, 20, 50
POSTGRESQL = """
INSERT INTO key_usage (id, api_key_id, user_id, endpoint, method, status_code, reason, tokens_used, response_time_ms, created_at)
SELECT gen_random_uuid(), (%s::uuid[])[1 + n %% {keys}], %s, '/endpoint/' || (n %% {endpoints}), 'GET', 200, '', 10, 20,
       now() - interval '20 minutes' - (n %% {hours}) * interval '1 hour'
FROM generate_series(1, %s) AS n
"""


def fill(count):
    user = User.objects.create_user("bench", "bench@example.com", name="Bench")
    keys = [issue_key(user, Author(user), name=f"key {number}")[0].pk for number in range(KEYS)]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            statement = POSTGRESQL.format(keys=KEYS, endpoints=ENDPOINTS, hours=DAYS * 24)
            cursor.execute(statement, [keys, user.pk, count])
    else:
        fill_by_orm(user, keys, count)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def fill_by_orm(user, keys, count):
    start = timezone.now() - timedelta(minutes=20)
    for first in range(0, count, 5000):
        KeyUsage.objects.bulk_create(
            KeyUsage(
                api_key_id=keys[n % KEYS], user=user, endpoint=f"/endpoint/{n % ENDPOINTS}", method="GET", status_code=200,
                tokens_used=10, response_time_ms=20, created_at=start - timedelta(hours=n % (DAYS * 24)),
            )
            for n in range(first, min(first + 5000, count))
        )  # fmt: skip


def milliseconds(action, times=3):
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best * 1000


def page():
    form = StaffUsageForm(QueryDict(), keys=APIKey.objects.all())
    form.is_valid()
    return figures(form)


def sparklines():
    daily_requests(list(APIKey.objects.values_list("pk", flat=True)), DAYS)


def row(count, state):
    total = page()["sums"].requests
    print(
        f"| {count:>10,} | {state:<8} | {milliseconds(page):>9,.0f} | {milliseconds(sparklines):>10,.0f} | {total:>10,} |"
    )


def measure(count):
    fill(count)
    TouchedHour.objects.all().delete()
    row(count, "ledger")
    start = time.perf_counter()
    hours = rollups.fold()
    print(f"  folded {hours} hours in {time.perf_counter() - start:.1f} s: "
          f"{UsageHour.objects.count():,} + {EndpointHour.objects.count():,} rows")  # fmt: skip
    row(count, "folded")
    for model in (KeyUsage, UsageHour, EndpointHour):
        model._default_manager.all()._raw_delete("default")
    rollups.FoldState.objects.all().delete()
    User.objects.all().hard_delete()


if __name__ == "__main__":
    databases = setup_databases(verbosity=0, interactive=False)
    try:
        print(f"{connection.vendor}, {DAYS} days, {KEYS} keys, {ENDPOINTS} endpoints, best of 3, in ms")
        print("|     events | read     | whole page | sparklines |      total |")
        for size in map(int, sys.argv[1:] or ["10000", "100000"]):
            measure(size)
    finally:
        teardown_databases(databases, verbosity=0)
