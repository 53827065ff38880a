"""The throughput of 1, 2 and 4 nodes, and what a decision costs each component, by statistics of the kernel and PostgreSQL."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.usage.rollups import floor_to_hour, fold_hour
from benchmarks.verification import MAKE_KEYS, MANY, python
from benchmarks.verification_load import Target, family, flood, seconds_of
from tests.apikeys.gateway.servers import database_url
from tests.config.nodes import proxy

# The number of nodes and of all clients. The last one shows the cost of smaller batches.
LOADS = ((1, 32), (2, 64), (4, 128), (4, 32))
ABOUT = {"X-Original-Method": "GET", "X-Original-URI": "/orders/7", "X-Real-IP": "203.0.113.9"}
# Bytes of WAL, commits, and flushes of WAL to disk (which newer versions of PostgreSQL count elsewhere).
STATISTICS = """
SELECT pg_current_wal_lsn() - '0/0', (SELECT sum(xact_commit) FROM pg_stat_database),
    (SELECT (to_jsonb(wal) ->> 'wal_sync')::bigint FROM pg_stat_wal AS wal)
"""
# The size of a usage row with its indexes. The table may have partitions.
SIZE = """
SELECT (
    pg_total_relation_size('key_usage')
    + coalesce((SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'key_usage'::regclass), 0)
) / count(*) FROM key_usage
"""
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


def costs(
    directory: Path, nodes: list[Any], parts: dict[str, int], rounds: int, seconds: float, host: str
) -> dict[str, Any]:
    """`parts`: the process ids of the servers that all nodes share."""
    secrets = make_keys()
    found: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    with ExitStack() as stack:
        fronts = {
            count: stack.enter_context(proxy(directory / f"nginx-{count}", *nodes[:count], host=host))
            for count in sorted({count for count, _ in LOADS})
        }
        for number in range(rounds + 1):
            for load in LOADS:
                front = fronts[load[0]]
                servers = {"nodes": [node.pid for node in nodes], "nginx": [front.pid]}
                servers |= {part: [pid] for part, pid in parts.items()}
                target = Target("Gatehouse", f"http://{host}:{front.port}/authz/nginx", ABOUT, "X-API-Key", secrets)
                row = measure(target, servers, seconds, load[1])
                if number:  # the first round warms caches, connections and prepared statements
                    found[load].append(row)
                    print(*load, row, flush=True)
    rows = [{"nodes": count, "clients": clients, **medians(each)} for (count, clients), each in found.items()]
    return {
        "rows": rows,
        "bytes of a usage row": int(query_row(SIZE)[0]),
        "connections of a node": (query_row(CONNECTIONS)[0] - 1) / len(nodes),  # without the connection of this process
        "events folded per second": folded_per_second(),
    }


def folded_per_second() -> int:
    hour = floor_to_hour(timezone.now())
    events = KeyUsage.objects.filter(created_at__gte=hour).count()
    began = time.monotonic()
    fold_hour(hour)
    return int(events / (time.monotonic() - began))


def make_keys() -> tuple[str, ...]:
    environment = {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    return tuple(python(["-c", MAKE_KEYS.replace("MANY", str(MANY))], environment).split())


def measure(target: Target, parts: dict[str, list[int]], seconds: float, clients: int) -> dict[str, Any]:
    before, statistics_before = {name: processor_times(pids) for name, pids in parts.items()}, query_row(STATISTICS)
    load = flood(target, seconds, clients)
    times = {name: used_since(before[name], pids) * 1e6 / load.requests for name, pids in parts.items()}
    wal, commits, flushes = (
        None if now is None else float(now - then) / load.requests
        for now, then in zip(query_row(STATISTICS), statistics_before, strict=True)
    )
    return {"rate": load.rate, "p99": load.p99, "µs": times, "WAL": wal, "commits": commits, "flushes": flushes}


def processor_times(pids: list[int]) -> dict[int, float]:
    return {each: seconds_of(each) for pid in pids for each in family(pid)}


def used_since(before: dict[int, float], pids: list[int]) -> float:
    """In seconds, without processes that ended in the meantime."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in processor_times(pids).items())


def query_row(sql: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, to three digits."""
    return {name: medians_of([row[name] for row in rows]) for name in rows[0]}


def medians_of(values: list[Any]) -> Any:
    if values[0] is None or isinstance(values[0], dict):
        return values[0] and medians(values)
    return float(f"{statistics.median(values):.3g}")
