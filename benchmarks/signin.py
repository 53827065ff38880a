"""Measure what signing in costs, and whether its time reveals which names exist.

    .venv/bin/python -m benchmarks.signin

Starts a server (gunicorn, one worker with 16 threads) with its own database and prints
  - the median time of a rejected sign-in for a known, an unknown, a suspended and a deleted name, and how much they differ
    (up to 15% is fine);
  - the peak of the server's memory during 16 concurrent sign-ins (up to 500 MiB is fine).
The limits are for two cores; run it on an idle machine. Exits with 1 if a limit is exceeded.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
PORT = int(os.environ.get("BENCHMARK_PORT", "8160"))
ROUNDS, PARALLEL = 60, 16
PASSWORD = "correct horse battery"
NAMES = ("known", "unknown", "suspended", "deleted")
SETUP = f"""
from accounts.models import User
from accounts.addresses import set_address
from tiers.models import Tier
Tier.objects.get_or_create(name="free")
for name in ("known", "suspended", "deleted", *(f"person_{{n}}" for n in range({PARALLEL}))):
    set_address(User.objects.create_user(name, name + "@example.com", "{PASSWORD}", name=name), verified=True)
User.objects.get(username="suspended").suspend()
User.objects.get(username="deleted").delete()
"""

# Every request has another client address. Otherwise, sign-ins would be rate limited.
clients = (f"198.18.{number // 250}.{number % 250 + 1}" for number in count())


class Browser:
    """One connection with its cookies and CSRF token."""

    def __init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        page, headers = self.ask("GET", "/accounts/login/")
        self.cookie = headers["Set-Cookie"].partition(";")[0]
        self.token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page).group(1)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[str, http.client.HTTPMessage]:
        headers |= {"X-Forwarded-For": next(clients), "Content-Type": "application/x-www-form-urlencoded"}
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        self.status = response.status
        return response.read().decode(), response.headers

    def sign_in(self, name: str, password: str) -> float:
        """Returns the response time in seconds."""
        form = urlencode({"csrfmiddlewaretoken": self.token, "login": name, "password": password})
        began = time.perf_counter()
        self.ask("POST", "/accounts/login/", form, Cookie=self.cookie)
        return time.perf_counter() - began


def main() -> int:
    with tempfile.TemporaryDirectory() as var:
        environment = os.environ | {
            "ENV_FILE": os.devnull,
            "DEBUG": "true",
            "HTTPS_ONLY": "false",
            "VAR_DIR": var,
            "TRUSTED_PROXY_HOPS": "1",
            "DATABASE_URL": os.environ.get("BENCHMARK_DATABASE_URL", ""),
            "REDIS_URL": "",
            "LOG_LEVEL": "ERROR",
        }
        for command in (["migrate", "-v", "0"], ["shell", "-v", "0", "-c", SETUP]):
            subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "config.wsgi",
                "-b",
                f"127.0.0.1:{PORT}",
                "-w",
                "1",
                "--threads",
                str(PARALLEL),
            ],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_server()
            good = report_times(measure_times())
            return 0 if report_memory(server.pid, measure_parallel()) and good else 1
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(10)


def wait_for_server() -> None:
    for _ in range(100):
        try:
            Browser().connection.close()
        except (OSError, KeyError, AttributeError, TypeError):
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The server did not start.")


def measure_times() -> dict[str, list[float]]:
    """Times of rejected sign-ins, with the names in turn, so that other load affects all of them."""
    browser = Browser()
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for round_number in range(ROUNDS):
        for name in NAMES:
            # Suspended and deleted users have the right password: its time mustn't show that, either.
            password = PASSWORD if name in {"suspended", "deleted"} else "wrong"
            seconds = browser.sign_in(name, password)
            assert browser.status == 200, browser.status
            if round_number:
                times[name].append(seconds)
    return times


def report_times(times: dict[str, list[float]]) -> bool:
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:10} {median:7.1f} ms median of {ROUNDS - 1}")
    difference = max(medians.values()) / min(medians.values()) - 1
    print(f"difference {difference:7.1%}    (up to 15% is fine)")
    return difference <= 0.15


def measure_parallel() -> float:
    """Sign in 16 users at the same time. Returns the seconds until the last one is signed in."""
    browsers = [Browser() for _ in range(PARALLEL)]
    began = time.perf_counter()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda pair: pair[1].sign_in(f"person_{pair[0]}", PASSWORD), enumerate(browsers)))
    assert all(browser.status == 302 for browser in browsers), [browser.status for browser in browsers]
    return time.perf_counter() - began


def report_memory(master: int, seconds: float) -> bool:
    children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()
    peak = sum(peak_mib(int(pid)) for pid in (master, *children))
    print(f"{PARALLEL} at once {seconds * 1000:7.0f} ms; the server's peak was {peak:.0f} MiB (up to 500 MiB is fine)")
    return peak < 500


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


if __name__ == "__main__":
    sys.exit(main())
