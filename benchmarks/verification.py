"""How much does a full verification cost beside an empty Django view?

    python -m benchmarks.verification                                  SQLite
    python -m benchmarks.verification --database postgres://… [--redis redis://…]

A full verification: key, owner, tier, permission, limits, and a durable usage row. All servers run gunicorn with the same
workers on this machine, as many clients as these have threads; they are measured in turns, round by round, and a ratio is
the median over the rounds, so that whatever else the machine does meets all alike.
Twice: with a connection for each request, as most proxies have it unless told otherwise, and with connections that are
kept, as our gateway configurations tell them.
Servers: the empty view stands in a project as `startproject` makes it; the bare view has no middleware: nothing in Django
is cheaper. djangorestframework-api-key stands in one as `startproject` makes it, too, which opens the database anew for
each request, and in a tuned one, whose connections persist.
The database named must be one that may be filled; tables are made, and removed with it by whoever owns it.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.verification_load import Target, flood, p99_at

ROOT = Path(__file__).resolve().parent.parent
SHARE_OF_LOAD = 0.7
MANNERS: dict[str, Callable[[Target], Target]] = {
    "a connection for each request": lambda target: replace(target, headers=target.headers | {"Connection": "close"}),
    "connections that are kept": lambda target: target,
}
MAKE_KEY = """
import os, uuid
import django
django.setup()
from accounts.models import User
from apikeys.models import APIKey, KeyPermission
from apikeys.services import stored_form
from apikeys.secrets import new_secret
from ratelimits.models import RateLimit
from tiers.models import Tier
tag = uuid.uuid4().hex[:8]
tier = Tier.objects.create(name=f"bench {tag}")
RateLimit.objects.create(tier=tier, name=f"bench {tag}", path="/orders/{id}", limit=2_000_000_000, period=60)
user = User.objects.create_user(f"bench_{tag}", f"{tag}@example.com", None, tier=tier)
secret = new_secret()
key = APIKey.objects.create(user=user, name="benchmark", **stored_form(secret))
KeyPermission.objects.create(api_key=key, action="read", resource="/orders/*")
print(secret)
"""


def main() -> None:
    options = parsed()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = [stack.enter_context(server) for server in servers(options, directory)]
        for target in targets:
            flood(target, 1, options.connections)  # warm caches, connections and prepared statements
        print(title(options))
        for heading, choose in MANNERS.items():
            clients = [choose(target) for target in targets]
            report(heading, clients, measure(clients, options), options)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="", help="DATABASE_URL; SQLite in a temporary directory when empty")
    parser.add_argument("--redis", default="", help="REDIS_URL for the counters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="for each server in each round")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument(
        "--gunicorn",
        default="-w 2 -k gthread --threads 4 --keep-alive 15",
        help="its workers, the same for all servers",
    )
    parser.add_argument("--without-drf", action="store_true")
    return parser.parse_args()


def servers(options: argparse.Namespace, directory: Path) -> Iterator[Iterator[Target]]:
    ours = gatehouse_environment(options, directory)
    python(["manage.py", "migrate", "-v0"], ours)
    secret = python(["-c", MAKE_KEY], ours | {"DJANGO_SETTINGS_MODULE": "config.settings"})
    asked = {
        "X-API-Key": secret,
        "X-Original-Method": "GET",
        "X-Original-URI": "/orders/7",
        "X-Real-IP": "203.0.113.9",
    }
    yield serving(Target("empty view", "/", {}), "benchmarks.empty_view", {}, options)
    yield serving(Target("bare view", "/", {}), "benchmarks.empty_view", {"BARE": "1"}, options)
    yield serving(Target("Gatehouse", "/authz/nginx", asked), "config.wsgi", ours, options)
    if not options.without_drf:
        theirs = {
            "DATABASE_URL": drf_database(options, directory),
            "REDIS_URL": options.redis,
        }
        key = python(["-m", "benchmarks.drf_project"], theirs)
        headers = {"Authorization": f"Api-Key {key}"}
        yield serving(Target("DRF API key", "/", headers), "benchmarks.drf_project", theirs, options)
        tuned = theirs | {"TUNED": "1"}
        yield serving(Target("DRF, tuned", "/", headers), "benchmarks.drf_project", tuned, options)


def gatehouse_environment(options: argparse.Namespace, directory: Path) -> dict[str, str]:
    return {
        "ENV_FILE": os.devnull,
        "DEBUG": "false",
        "SECRET_KEY": "only-for-benchmarks-" + "x" * 50,
        "API_KEY_PEPPERS": "only-for-benchmarks-" + "y" * 50,
        "DATABASE_URL": options.database,
        "REDIS_URL": options.redis,
        "VAR_DIR": str(directory),
        "LOG_LEVEL": "WARNING",
    }


def drf_database(options: argparse.Namespace, directory: Path) -> str:
    """Tables of another project: in PostgreSQL they need a database of their own, made on the same server."""
    if not options.database:
        return f"sqlite:///{directory}/drf.sqlite3"
    import psycopg

    with psycopg.connect(options.database, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS gatehouse_bench_drf")
        connection.execute("CREATE DATABASE gatehouse_bench_drf")
    return re.sub(r"/[^/]+$", "/gatehouse_bench_drf", options.database)


def python(arguments: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


@contextmanager
def serving(target: Target, module: str, environment: dict[str, str], options: argparse.Namespace) -> Iterator[Target]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).parent / "gunicorn", "-b", f"127.0.0.1:{port}", *options.gunicorn.split()]
    command += ["--log-level", "warning", "--no-control-socket", f"{module}:application"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONWARNINGS": "ignore"} | environment)
    try:
        wait_for(port)
        yield replace(target, url=f"http://127.0.0.1:{port}{target.url}")
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(2)  # gunicorn listens before its workers are ready
                return
        time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def measure(targets: list[Target], options: argparse.Namespace) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(options.rounds):
        for target in targets:
            rates[target.name].append(flood(target, options.seconds, options.connections))
    return rates


def title(options: argparse.Namespace) -> str:
    place = "PostgreSQL" if options.database else "SQLite"
    counters = " and Redis" if options.redis else ""
    return f"\n{place}{counters}, gunicorn {options.gunicorn}, {options.connections} clients, {options.rounds} rounds"


def report(heading: str, targets: list[Target], rates: dict[str, list[float]], options: argparse.Namespace) -> None:
    print(f"\n{heading:28} {'requests/s':>10} {'to empty':>9} {'to bare':>8} {'ours to it':>11} {'p99 at 70 %':>12}")
    for target in targets:
        own = rates[target.name]
        rate = statistics.median(own)
        p99 = p99_at(target, options.seconds, rate * SHARE_OF_LOAD, options.connections)
        ratios = f"{ratio(own, rates['empty view']):9.2f} {ratio(own, rates['bare view']):8.2f} {ratio(rates['Gatehouse'], own):11.2f}"
        print(f"{target.name:28} {rate:10,.0f} {ratios} {p99:9.1f} ms")


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
