"""Measure the effect of ten million usage events on pages and decisions, and of dropping their month on decisions.

    DEBUG=1 DATABASE_URL=postgresql://… python -m benchmarks.usage_growth [EVENTS]

Events of last month are created by SQL in a test database (test_…), first a thousand of them, then EVENTS. Times of pages
and decisions are processor time, as in benchmarks/lists.py. Then prune_usage drops the month while other processes make decisions, one
at a time, of which the slowest counts. Writes benchmarks/results/usage_growth.json, and the table in docs/usage.md
from it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import override_settings, setup_databases, setup_test_environment, teardown_databases
from django.utils import timezone

from accounts.models import User
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import decide
from apikeys.services import issue_key
from apikeys.usage import partitions as partitioning
from apikeys.usage import rollups
from apikeys.usage.partitions import first_id, month_after, partitions
from benchmarks.lists import STORAGES, milliseconds, processor_time
from config.base.history import Author
from ratelimits.models import RateLimit
from tiers.models import Tier

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "usage_growth.json"
DOCUMENT = ROOT / "docs" / "usage.md"
FEW, KEYS, ENDPOINTS, DENIED_PERCENT = 1_000, 20, 50, 5
DECISIONS, DECIDERS, ROUNDS = 300, 2, 10

# Ids as in config/base/models.py: milliseconds, version, random bits.
INSERT = """
INSERT INTO key_usage (id, api_key_id, user_id, endpoint, method, status_code, reason, tokens_used, response_time_ms, created_at)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
       (%(keys)s::uuid[])[1 + n %% {keys}], %(user)s, '/endpoint/' || (n %% {endpoints}), 'GET',
       CASE WHEN n %% 100 < {denied} THEN 403 ELSE 200 END, CASE WHEN n %% 100 < {denied} THEN 'permission_denied' ELSE '' END,
       10, 20, at
FROM (
    SELECT n, md5(n::text || random()) AS hash, %(start)s + n * (%(end)s - %(start)s) / (%(count)s + 1) AS at
    FROM generate_series(1, %(count)s) AS n
) AS events
"""


class Bench:
    """A user with keys, and the month before this one."""

    def __init__(self):
        tier = Tier.objects.create(name="bench")
        RateLimit.objects.create(tier=tier, path="/*", limit=10**9, period=60)
        self.user = User.objects.create_superuser("bench", "bench@example.com", tier=tier)
        issued = [issue_key(self.user, Author(self.user), name=f"key {number}") for number in range(KEYS)]
        self.keys, self.secret = [key.pk for key, _ in issued], issued[0][1]
        self.start, self.end = month_after(timezone.now(), -1), month_after(timezone.now(), 0)
        self.client = Client()
        self.client.force_login(self.user)
        self.create_months()

    def create_months(self):
        """Create partitions for both months, as in an older database."""
        first, *later = partitions()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {first.name}")
            month = self.start
            while month < later[0].start:
                cursor.execute(
                    f"CREATE TABLE key_usage_{month:%Y_%m} PARTITION OF key_usage "
                    f"FOR VALUES FROM ('{first_id(month)}') TO ('{first_id(month_after(month))}')"
                )
                month = month_after(month)

    def fill(self, count):
        statement = INSERT.format(keys=KEYS, endpoints=ENDPOINTS, denied=DENIED_PERCENT)
        values = {"keys": self.keys, "user": self.user.pk, "start": self.start, "end": self.end, "count": count}
        began = time.perf_counter()
        with connection.cursor() as cursor:
            # Without triggers, because none of these hours has been folded.
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(statement, values)
            cursor.execute("SET session_replication_role = DEFAULT")
            cursor.execute("VACUUM ANALYZE key_usage")
        print(f"{count:,} events created in {time.perf_counter() - began:.0f} s", flush=True)
        began = time.perf_counter()
        hours = rollups.fold()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        print(f"{hours:,} hours folded in {time.perf_counter() - began:.0f} s", flush=True)

    def empty(self):
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE key_usage, key_usage_hours, key_usage_endpoint_hours, key_usage_limit_hours, "
                           "key_usage_days, key_usage_touched_hours, key_usage_fold_state")  # fmt: skip

    def pages(self):
        days = f"first={self.start:%Y-%m-%d}&last={self.end - timedelta(days=1):%Y-%m-%d}"
        return {
            "overview": "/admin/",
            "page of a user": f"/users/{self.user.pk}/",
            "page of a key": f"/admin/apikeys/apikey/{self.keys[0]}/change/",
            "usage page, the month": f"/admin/usage/?{days}",
            "usage page, one key": f"/admin/usage/?{days}&key={self.keys[0]}",
            "own usage page, the month": f"/account/usage/?{days}",
            "request log": "/admin/usage/requests/",
            "request log, one user": "/admin/usage/requests/?user=bench",
            "request log, one key": f"/admin/usage/requests/?key={self.keys[0]}",
            "request log, denied": "/admin/usage/requests/?verdict=denied",
            "request log, an hour": f"/admin/usage/requests/?since={self.start:%Y-%m-%d}+12:00&until={self.start:%Y-%m-%d}+13:00",
        }

    def measure(self):
        found = {label: round(milliseconds(self.client, url), 1) for label, url in self.pages().items()}
        return found | {"decision": round(decision_milliseconds(self.secret), 3)}


def facts_of(secret):
    return Facts(Credential(secret), "GET", "/orders/1", "203.0.113.7")


def decision_milliseconds(secret):
    facts, best = facts_of(secret), float("inf")
    for _ in range(ROUNDS + 1):  # the first prepares the statements
        began = processor_time()
        for _ in range(DECISIONS):
            assert decide(facts).allowed
        best = min(best, (processor_time() - began) / DECISIONS)
    return best * 1000


def keep_deciding(database, secret, finished, results):
    """Runs in a separate process and returns when each decision began and ended. Linux has one such clock for all processes."""
    connection.settings_dict["NAME"] = database
    facts, times = facts_of(secret), []
    decide(facts)
    results.put(None)
    while not finished.is_set():
        began = time.perf_counter()
        assert decide(facts).allowed
        times.append((began, time.perf_counter()))
    results.put(times)


def beside_decisions(secret, action):
    """Run `action`. Returns when each decision that other processes made in the meantime began and ended."""
    spawn = multiprocessing.get_context("spawn")
    finished, results = spawn.Event(), spawn.Queue()
    arguments = (connection.settings_dict["NAME"], secret, finished, results)
    deciders = [spawn.Process(target=keep_deciding, args=arguments) for _ in range(DECIDERS)]
    for decider in deciders:
        decider.start()
    for _ in deciders:
        results.get()
    time.sleep(1)
    action()
    time.sleep(1)
    finished.set()
    found = [results.get() for _ in deciders]
    for decider in deciders:
        decider.join()
    return [times for part in found for times in part]


def slowest(times):
    return round(max((ended - began for began, ended in times), default=0) * 1000, 1)


@contextmanager
def timed(name):
    """When each call of this function of apikeys/usage/partitions.py began and ended."""
    function, times = getattr(partitioning, name), []

    def call(*arguments):
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            times.append((began, time.perf_counter()))

    with patch.object(partitioning, name, call):
        yield times


def drop_month(bench):
    rollups.fold()
    prune = {"days": (timezone.now() - bench.end).days - 1, "whole_months": True, "stdout": StringIO()}
    usual = beside_decisions(bench.secret, lambda: time.sleep(3))
    with timed("detach") as detaching, timed("drop_detached") as dropping:
        decisions = beside_decisions(bench.secret, lambda: call_command("prune_usage", **prune))
    assert detaching, prune["stdout"].getvalue()
    overlapping = [
        (began, ended) for began, ended in decisions if any(began < last and first < ended for first, last in detaching)
    ]
    return {
        "taking the month out of the ledger": slowest(detaching),
        "removing its files": slowest(dropping),
        "slowest decision during the first": slowest(overlapping),
        "slowest of all decisions meanwhile": slowest(decisions),
        "slowest decision in 5 seconds before": slowest(usual),
        "attempts": len(detaching),
        "decisions": len(decisions),
    }


def publish(found, events):
    RESULTS.write_text(json.dumps({"events": events, **found}, indent=2) + "\n")
    lines = [f"| ms of processor time, with events | {FEW:,} | {events:,} |", "|---|---:|---:|"]
    lines += [f"| {label} | {few:,} | {found['many'][label]:,} |" for label, few in found["few"].items()]
    lines += ["", "| elapsed | ms |", "|---|---:|"]
    lines += [
        f"| {label} | {value:,} |" for label, value in found["drop"].items() if label not in ("attempts", "decisions")
    ]
    marked = re.compile(r"(<!-- benchmarks.usage_growth -->\n).*?(\n<!-- end -->)", re.DOTALL)
    DOCUMENT.write_text(marked.sub(lambda match: match[1] + "\n".join(lines) + match[2], DOCUMENT.read_text()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("events", nargs="?", type=int, default=10_000_000)
    parser.add_argument("--no-results", action="store_true", help="Only print the figures.")
    options = parser.parse_args()
    if connection.vendor != "postgresql":
        sys.exit("Only PostgreSQL has partitions. Set DATABASE_URL.")
    setup_test_environment(debug=False)
    databases = setup_databases(verbosity=0, interactive=False, serialized_aliases=())
    try:
        bench = Bench()
        with override_settings(STORAGES=STORAGES):
            found = {}
            for name, count in (("few", FEW), ("many", options.events)):
                bench.empty()
                bench.fill(count)
                found[name] = bench.measure()
                print(json.dumps(found[name], indent=2), flush=True)
        found["drop"] = drop_month(bench)
        print(json.dumps(found["drop"], indent=2))
        if not options.no_results:
            publish(found, options.events)
    finally:
        with connection.cursor() as cursor:  # for example those of the limiter's threads
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                           "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
        teardown_databases(databases, verbosity=0)


if __name__ == "__main__":
    main()
