"""Load for benchmarks: wrk when it is installed (Debian: apt-get install wrk), else threads of our own, in processes.

`flood` measures how many requests a second a server answers; `p99_at` how long they take at a given rate. Our own threads
take so much of a small machine that they cannot ask for more than some 1,500 requests a second: install wrk.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Target:
    name: str
    url: str
    headers: dict[str, str]


def flood(target: Target, seconds: float, connections: int) -> float:
    """Requests per second. Raises RuntimeError if one is answered with anything but 200."""
    if shutil.which("wrk"):
        return flood_with_wrk(target, seconds, connections)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        halves = [pool.submit(flood_with_threads, target, seconds, max(1, connections // 2)) for _ in range(2)]
        return sum(half.result() for half in halves)


def flood_with_wrk(target: Target, seconds: float, connections: int) -> float:
    report = wrk(target, seconds, connections)
    return float(found(r"Requests/sec:\s+([\d.]+)", report)[1])


def wrk(target: Target, seconds: float, connections: int, *options: str) -> str:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", *options]
    for name, value in target.headers.items():
        command += ["-H", f"{name}: {value}"]
    report = subprocess.run([*command, target.url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in report:
        raise RuntimeError(f"{target.name} refused requests:\n{report}")
    return report


def found(pattern: str, report: str) -> re.Match[str]:
    match = re.search(pattern, report)
    if match is None:
        raise RuntimeError(f"wrk printed something else:\n{report}")
    return match


def flood_with_threads(target: Target, seconds: float, connections: int) -> float:
    counts: list[int] = []
    ends = time.monotonic() + seconds

    def ask() -> None:
        with Asker(target) as asker:
            number = 0
            while time.monotonic() < ends:
                asker.ask()
                number += 1
            counts.append(number)

    run_threads([threading.Thread(target=ask) for _ in range(connections)])
    return sum(counts) / seconds


def p99_at(target: Target, seconds: float, rate: float, connections: int) -> float:
    """Milliseconds within which 99 of 100 requests are answered, at `rate` requests a second."""
    if shutil.which("wrk"):
        return p99_with_wrk(target, seconds, rate, connections)
    times = paced(target, seconds, rate, connections)
    return times[int(len(times) * 0.99)]


# Clients that each think for a while before they ask again: what one waits, the others do not.
THINK = "local most = 2 * {pause}\nfunction delay() return math.random(0, most) end\n"
IN_MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000}


def p99_with_wrk(target: Target, seconds: float, rate: float, connections: int) -> float:
    pause = round(connections / rate * 1000)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(THINK.format(pause=pause))
        script.flush()
        report = wrk(target, seconds, connections, "--latency", "-s", script.name)
    match = found(r"99%\s+([\d.]+)(us|ms|s)\b", report)
    return float(match[1]) * IN_MILLISECONDS[match[2]]


def paced(target: Target, seconds: float, rate: float, connections: int) -> list[float]:
    """Milliseconds that each request took from the moment it was due, at `rate` requests a second, sorted.

    A request that starts late because the one before it was slow counts from when it was due: a stall is not hidden.
    """
    times: list[float] = []
    start = time.monotonic() + 0.1
    step = connections / rate

    def ask(first: int) -> None:
        with Asker(target) as asker:
            due = start + first * step / connections
            while due < start + seconds:
                time.sleep(max(0.0, due - time.monotonic()))
                asker.ask()
                times.append((time.monotonic() - due) * 1000)
                due += step

    run_threads([threading.Thread(target=ask, args=(number,)) for number in range(connections)])
    return sorted(times)


def run_threads(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Asker:
    """A client that keeps its connection where the server does."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.url)
        self.target, self.path = target, parts.path or "/"
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()

    def ask(self) -> None:
        self.connection.request("GET", self.path, headers=self.target.headers)
        response = self.connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{self.target.name} answered {response.status}")
