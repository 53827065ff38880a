"""What does a transaction that is left open cost decisions, when PostgreSQL has all counters?

    python -m benchmarks.long_transaction --database postgres://…

PostgreSQL can't remove old versions of rows that an open transaction might still read, and a counter gets a new version with each
request. 64 clients ask as fast as they can before, during two minutes of such a transaction, and after it; with 200 keys in turns,
and with one. Processor time is the operating system's accounting of all server processes with PostgreSQL's, so it depends less on what
else the machine does. The database named must be one that may be filled.

Writes benchmarks/results/long_transaction.json, and the table in docs/deployment.md from it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.documents import replace_figures
from benchmarks.report import ROOT, Rows, remember
from benchmarks.verification import MANY, OURS, environment_of, ours_at
from benchmarks.verification_load import Target, flood, processor_times, used_since

CLIENTS = 64
TURN = 10
OPEN_FOR = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="DATABASE_URL")
    options = parser.parse_args()
    options.redis = ""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as directory:
        environment = environment_of(options.database, "", Path(directory))
        with ours_at(ROOT, "Gatehouse", [*OURS, "config.asgi"], environment, options) as target:
            flood(target, 5, CLIENTS)  # warm caches, connections and prepared statements
            for keys in (MANY, 1):
                rows += phases(replace(target, keys=target.keys[:keys]), options.database)
    print(*rows, sep="\n")
    write(remember("long_transaction", "PostgreSQL", rows)["PostgreSQL"])


def phases(target: Target, database: str) -> Iterator[dict[str, Any]]:
    yield turn("before", target)
    with left_open(database):
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < OPEN_FOR:
            row = turn(f"after {passed + TURN:.0f} s", target)
            print(row)
        yield row
    time.sleep(TURN)
    vacuum(database)
    yield turn("when it has ended", target)


@contextmanager
def left_open(database: str) -> Iterator[None]:
    with psycopg.connect(database) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        yield


def vacuum(database: str) -> None:
    """As autovacuum does within a minute or two."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM")


def turn(when: str, target: Target) -> dict[str, Any]:
    before = processor_times(target)
    load = flood(target, TURN, CLIENTS)
    used = used_since(before, target)
    return {
        "keys": len(target.keys),
        "when": when,
        "rate": round(load.rate),
        "p99": round(load.p99),
        "microseconds": round(used / load.requests * 1_000_000),
    }


def write(rows: Rows) -> None:
    lines = [
        "| keys | the transaction | processor time of a decision | requests/s | p99 |",
        "|---:|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['keys']} | {row['when']} | {row['microseconds']:,} µs | {row['rate']:,} | {row['p99']:,} ms |"
        for row in rows
    ]
    replace_figures(ROOT / "docs" / "deployment.md", "benchmarks.long_transaction", lines)


if __name__ == "__main__":
    main()
