"""Compare the cost of a full verification with an empty Django view and djangorestframework-api-key.

    python -m benchmarks.verification                                        SQLite
    python -m benchmarks.verification --database postgres://… [--redis redis://…]
    python -m benchmarks.verification --before DIRECTORY                     also with an earlier version, checked out there

A full verification checks key, owner, tier, permissions and limits, and writes a usage row. All servers have two worker processes on this
machine and are measured in turns. A ratio is the median of all rounds, so other load on the machine affects
all alike. Processor time is measured by the operating system for all server processes, with PostgreSQL and Redis.

The empty view and djangorestframework-api-key are in projects as `startproject` creates them, the latter with persistent connections.
The benchmark adds rows to the given database.

Writes benchmarks/results/verification.json, and the table in docs/decision.md from it.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, Rows, parser_with_stores, place_of, remember, write_table
from benchmarks.verification_load import Target, flood, processor_times, used_since

SHARE_OF_LOAD = 0.7
CLIENTS = (8, 64, 256)
OURS = ("-c", "python:benchmarks.gunicorn_settings")
THEIRS = ("-w", "2", "-k", "gthread", "--threads", "4", "--keep-alive", "15", "--log-level", "warning")
MAKE_KEYS = """
import django
django.setup()
import django.db
import uuid
from accounts.models import User
from apikeys.models import APIKey, KeyPermission
from apikeys.services import stored_form
from apikeys.secrets import new_secret
from ratelimits.models import RateLimit
from tiers.models import Tier
tag = uuid.uuid4().hex[:8]
tier = Tier.objects.create(name=f"bench {tag}")
RateLimit.objects.create(tier=tier, name=f"bench {tag}", path="/orders/{id}", limit=2_000_000_000, period=60)
for number in range(MANY):
    user = User.objects.create_user(f"bench_{tag}_{number}", f"{tag}_{number}@example.com", None, tier=tier)
    secret = new_secret()
    key = APIKey.objects.create(user=user, name="benchmark", **stored_form(secret))
    KeyPermission.objects.create(api_key=key, action="read", resource="/orders/*")
    print(secret)
if django.db.connection.vendor == "postgresql":
    django.db.connection.cursor().execute("ANALYZE")  # as autovacuum does within a minute
"""
MANY = 200
# What to measure: a name, the number of clients, whether connections persist, and the number of keys.
LOADS = (
    *((f"{clients} clients", clients, True, MANY) for clients in CLIENTS),
    ("64 clients, one key", 64, True, 1),
    ("64 clients, a connection for each request", 64, False, MANY),
)


def main() -> None:
    options = parse_arguments()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = [stack.enter_context(server) for server in servers(options, directory)]
        for target in targets:
            flood(target, 2, 64)  # warm caches, connections and prepared statements
        rows = [row for load in LOADS for row in measure(targets, options, *load)]
    write(remember("verification", place_of(options.database, options.redis), rows))


def parse_arguments() -> argparse.Namespace:
    parser = parser_with_stores(__doc__)
    parser.add_argument("--before", default="", help="a checkout of an earlier version, to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="for each server in each round")
    parser.add_argument("--without-drf", action="store_true")
    return parser.parse_args()


def servers(options: argparse.Namespace, directory: Path) -> Iterator[Any]:
    ours = environment_of(options.database, options.redis, directory / "ours")
    yield serving(Target("empty view"), [*THEIRS, "benchmarks.empty_view"], {})
    yield ours_at(ROOT, "Gatehouse", [*OURS, "config.asgi"], ours, options)
    if options.before:
        # The earlier version has its own SQLite file or PostgreSQL database.
        database = beside(options.database, "before")
        before = environment_of(database, options.redis, directory / "before")
        yield ours_at(Path(options.before), "before", [*THEIRS, "config.wsgi"], before, options)
    if not options.without_drf:
        database = beside(options.database, "drf") or f"sqlite:///{directory}/drf.sqlite3"
        theirs = {"DATABASE_URL": database, "REDIS_URL": options.redis}
        key = python(["-m", "benchmarks.drf_project"], theirs)
        target = Target(
            "DRF API key, tuned", headers={"Authorization": f"Api-Key {key}"}, database=database, redis=options.redis
        )
        yield serving(target, [*THEIRS, "benchmarks.drf_project"], theirs)


def environment_of(database: str, redis: str, directory: Path) -> dict[str, str]:
    """Gatehouse's settings for benchmarks. directory: for its files."""
    return {
        "ENV_FILE": os.devnull,
        "SECRET_KEY": "only-for-benchmarks-" + "x" * 50,
        "API_KEY_PEPPERS": "only-for-benchmarks-" + "y" * 50,
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "VAR_DIR": str(directory),
        "LOG_LEVEL": "WARNING",
    }


def keys_at(root: Path, environment: dict[str, str]) -> list[str]:
    """Create keys in the database of this checkout."""
    environment = environment | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    return python(["-c", MAKE_KEYS.replace("MANY", str(MANY))], environment, root).split()


def ours_at(root: Path, name: str, command: list[str], environment: dict[str, str], options: argparse.Namespace) -> Any:
    python(["manage.py", "migrate", "-v0"], environment, root)
    target = Target(
        name,
        "/authz/nginx",
        {"X-Original-Method": "GET", "X-Original-URI": "/orders/7", "X-Real-IP": "203.0.113.9"},
        "X-API-Key",
        tuple(keys_at(root, environment)),
        database=environment["DATABASE_URL"],
        redis=options.redis,
    )
    return serving(target, command, environment, root)


def beside(url: str, name: str) -> str:
    """The URL of a new database named after the one in `url`; empty for SQLite."""
    if not url:
        return ""
    import psycopg

    server, _, database = url.rpartition("/")
    name = f"{database}_{name}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


def python(arguments: list[str], environment: dict[str, str], root: Path = ROOT) -> str:
    command = [sys.executable, "-W", "ignore", *arguments]
    completed = subprocess.run(
        command, cwd=root, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if completed.returncode:
        sys.exit(completed.stderr)
    return completed.stdout.strip()


@contextmanager
def serving(
    target: Target, arguments: list[str], environment: dict[str, str], root: Path = ROOT, niceness: int = 0
) -> Iterator[Target]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gunicorn = Path(sys.executable).parent / "gunicorn"
    command = ["nice", "-n", str(niceness), gunicorn, "-b", f"127.0.0.1:{port}", *arguments]
    process = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONWARNINGS": "ignore"} | environment)
    try:
        wait_for(port)
        yield replace(target, url=f"http://127.0.0.1:{port}{target.url}", pid=process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(3)  # gunicorn listens before its workers are ready
                return
        time.sleep(0.1)
    sys.exit(f"No server listens on port {port}.")


def measure(
    targets: list[Target], options: argparse.Namespace, name: str, clients: int, kept: bool, keys: int
) -> list[dict[str, Any]]:
    asked = [
        replace(target, keys=target.keys[:keys], headers=target.headers | ({} if kept else {"Connection": "close"}))
        for target in targets
    ]
    rates: dict[str, list[float]] = {target.name: [] for target in asked}
    costs: dict[str, list[float]] = {target.name: [] for target in asked}
    for _ in range(options.rounds):
        for target in asked:
            before = processor_times(target)
            load = flood(target, options.seconds, clients)
            rates[target.name].append(load.rate)
            costs[target.name].append(used_since(before, target) / load.requests * 1e6)
    rows = []
    for target in asked:
        pause = round(clients / (statistics.median(rates[target.name]) * SHARE_OF_LOAD) * 1000)
        rows.append(
            {
                "manner": name,
                "server": target.name,
                "rate": round(statistics.median(rates[target.name])),
                "microseconds": round(statistics.median(costs[target.name])),
                "p99": round(flood(target, options.seconds, clients, max(1, pause)).p99, 1),
                "rates to it": round(ratio(rates["Gatehouse"], rates[target.name]), 2),
                "time to it": round(ratio(costs["Gatehouse"], costs[target.name]), 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(own / other for own, other in zip(ours, theirs, strict=True))


def write(results: dict[str, Rows]) -> None:
    lines = [
        "| | requests/s | processor time per decision | p99 at 70% load | rate vs. an empty view | vs. DRF, tuned |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for place, rows in results.items():
        for ours in (row for row in rows if row["server"] == "Gatehouse"):
            others = {row["server"]: row["rates to it"] for row in rows if row["manner"] == ours["manner"]}
            lines.append(
                f"| {place}, {ours['manner']} | {ours['rate']:,} | {ours['microseconds']:,} µs | {ours['p99']} ms "
                f"| {others['empty view']} | {others.get('DRF API key, tuned', '')} |"
            )
    write_table("verification", lines)


if __name__ == "__main__":
    main()
