"""One budget behind a real gunicorn: as many are admitted as the limit says, whichever worker answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

PORT, LIMIT = 8123, 50


@pytest.fixture
def gunicorn(tmp_path):
    (tmp_path / "static").mkdir()
    environment = os.environ | {
        "VAR_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/main.sqlite3",
        "RATE_LIMITED_PATHS": "/livez",
        "DEFAULT_RATE_LIMIT_LIMIT": str(LIMIT),
        "DEFAULT_RATE_LIMIT_PERIOD": "36000",
        "LOG_LEVEL": "CRITICAL",
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=environment, check=True)
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "config.wsgi",
        "--workers",
        "3",
        "--threads",
        "2",
        "--worker-class",
        "gthread",
    ]
    server = subprocess.Popen([*command, "--bind", f"127.0.0.1:{PORT}", "--log-level", "critical"], env=environment)
    wait_for_port()
    yield
    server.terminate()
    server.wait()


def wait_for_port():
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "gunicorn did not start"
            time.sleep(0.1)
        else:
            return


def status():
    connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_workers_share_one_budget_exactly(gunicorn):
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: status(), range(160)))
    assert answers.count(200) == LIMIT
    assert answers.count(429) == 160 - LIMIT
