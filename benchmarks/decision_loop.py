"""Processes that make decisions in a loop, to compare the processor time of decisions without HTTP."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.verification import environment_of, keys_at, python
from benchmarks.verification_load import backends, redis_server

SIZES = (1, 8, 32, 128)
# Reads "size turns", decides that many batches, and prints the nanoseconds of processor time.
LOOP = """
import sys, time
import django
django.setup()
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import credential_from
from apikeys.decision.decide import decide_many
secrets = sys.argv[1].split(",")
facts = [
    Facts(credential_from(secret), method="GET", path="/orders/7", address="203.0.113.9", user_agent="curl/8.5.0")
    for secret in secrets
]
for line in sys.stdin:
    size, turns = map(int, line.split())
    began = time.process_time_ns()
    for turn in range(turns):
        first = turn * size % (len(facts) - size + 1)
        if not all(verdict.allowed for verdict in decide_many(facts[first : first + size])):
            sys.exit("A request was denied.")
    print(time.process_time_ns() - began, flush=True)
"""


@dataclass(frozen=True)
class Loop:
    requests: IO[str]
    answers: IO[str]
    database: str
    redis: str

    def cost(self, size: int, turns: int) -> float:
        """Microseconds of processor time of one decision in batches of `size`."""
        other_costs = {*backends(self.database), *redis_server(self.redis)}
        before = {pid: nanoseconds_of(pid) for pid in other_costs}
        self.requests.write(f"{size} {turns}\n")
        self.requests.flush()
        own = int(self.answers.readline())
        # Processes that ended in the meantime aren't counted.
        rest = sum(max(0, nanoseconds_of(pid) - before[pid]) for pid in other_costs)
        return (own + rest) / (size * turns) / 1000


def nanoseconds_of(pid: int) -> int:
    """Processor time of the main thread. PostgreSQL backends have only this one, and Redis runs commands on it."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except OSError:
        return 0


@contextmanager
def deciding(root: Path, database: str, redis: str, directory: Path) -> Iterator[Loop]:
    """A loop that runs the checkout at `root`, with its own keys. directory: for its files."""
    metrics = directory / "metrics"
    metrics.mkdir(parents=True)
    environment = environment_of(database, redis, directory) | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),  # as in a server
    }
    python(["manage.py", "migrate", "-v0"], environment, root)
    keys = keys_at(root, environment)
    command = [sys.executable, "-W", "ignore", "-c", LOOP, ",".join(keys)]
    process: Any = subprocess.Popen(
        command, cwd=root, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    loop = Loop(process.stdin, process.stdout, database, redis)
    try:
        warm_up(loop)
        yield loop
    finally:
        process.terminate()
        process.wait()


def warm_up(loop: Loop) -> None:
    """Fill caches, open connections and prepare statements."""
    for size in SIZES:
        loop.cost(size, 100)


def compare(ours: Loop, other: Loop, size: int, rounds: int) -> dict[str, float]:
    """Run both in turns of a fraction of a second, so that other load on the machine affects both alike."""
    turns = max(10, 200 // size)
    costs = [(ours.cost(size, turns), other.cost(size, turns)) for _ in range(rounds)]
    own_costs, other_costs = zip(*costs, strict=True)
    row = {
        "batch": size,
        "microseconds": round(statistics.median(own_costs), 1),
        "other": round(statistics.median(other_costs), 1),
        "ratio": round(statistics.median(one / two for one, two in costs), 3),
    }
    print(row, flush=True)
    return row
