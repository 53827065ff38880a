"""Create load with wrk (Debian: apt-get install wrk), and measure the processor time that the servers use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import redis

# Clients send the keys in turn and wait `pause` ms on average before each request; 0 means as fast as they can.
SCRIPT = """
local keys, number, most = {{ {keys} }}, 0, 2 * {pause}
local headers = {{ {headers} }}
function request()
  number = number % #keys + 1
  headers["{name}"] = keys[number]
  return wrk.format("GET", nil, headers)
end
function delay() return math.random(0, most) end
"""
IN_MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Target:
    """A server. key_header and keys: the header for the key, and its values, used in turn."""

    name: str
    url: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    key_header: str = "X-Unused"
    keys: tuple[str, ...] = ("-",)
    pid: int = 0
    database: str = ""
    redis: str = ""


@dataclass(frozen=True)
class Load:
    requests: int
    rate: float
    p99: float


def flood(target: Target, seconds: float, clients: int, pause: int = 0) -> Load:
    """Make requests as fast as `clients` can, or with pauses (ms). Exits if a response isn't 200."""
    if not shutil.which("wrk"):
        sys.exit("Install wrk (Debian: apt-get install wrk).")
    script = SCRIPT.format(
        keys=", ".join(f'"{key}"' for key in target.keys),
        pause=pause,
        headers=", ".join(f'["{name}"] = "{value}"' for name, value in target.headers.items()),
        name=target.key_header,
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script if pause else script.replace("function delay", "function unused"))
        file.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--latency", "-s", file.name, target.url]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in report:
        sys.exit(f"{target.name} denied requests:\n{report}")
    p99 = found(r"99%\s+([\d.]+)(us|ms|s)\b", report)
    return Load(
        int(found(r"(\d+) requests in", report)[1]),
        float(found(r"Requests/sec:\s+([\d.]+)", report)[1]),
        float(p99[1]) * IN_MILLISECONDS[p99[2]],
    )


def found(pattern: str, report: str) -> re.Match[str]:
    match = re.search(pattern, report)
    if match is None:
        sys.exit(f"Unexpected output of wrk:\n{report}")
    return match


def processor_times(target: Target) -> dict[int, float]:
    """Seconds of processor time used so far, by process of the server, PostgreSQL and Redis."""
    processes = {*family(target.pid), *backends(target.database), *redis_server(target.redis)}
    return {pid: seconds_of(pid) for pid in processes}


def used_since(before: dict[int, float], target: Target) -> float:
    """In seconds, without processes that ended in the meantime."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in processor_times(target).items())


def seconds_of(pid: int) -> float:
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(numbers[11]) + int(numbers[12])) / TICKS


def family(pid: int) -> set[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    known = {int(child) for child in children.read_text().split()} if children.exists() else set()
    return {pid}.union(*map(family, known)) if pid else set()


def backends(url: str) -> set[int]:
    if not url.startswith("postgres"):
        return set()
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return {row[0] for row in rows}


def redis_server(url: str) -> set[int]:
    return {int(redis.Redis.from_url(url).info("server")["process_id"])} if url else set()
