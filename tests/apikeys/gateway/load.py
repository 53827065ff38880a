"""Many clients at once, with the time and the answer of each request."""

from __future__ import annotations

import http.client
import threading
import time
from typing import NamedTuple


class Asked(NamedTuple):
    at: float
    status: int
    event: str


class Clients:
    """Threads that ask /authz/nginx all the time until stopped; `answers` has all responses, in any order.

    If a connection breaks, for example because a worker is killed, the client asks again.
    """

    def __init__(self, port, secrets, threads=4):
        self.port = port
        self.answers = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(secrets[number % len(secrets)],)) for number in range(threads)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, number, seconds=20):
        """Wait for this many more answers."""
        goal, deadline = len(self.answers) + number, time.monotonic() + seconds
        while len(self.answers) < goal and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.answers) >= goal, "the server does not answer any more"

    def _ask(self, secret):
        headers = {
            "X-API-Key": secret,
            "X-Original-Method": "GET",
            "X-Original-URI": "/orders",
            "X-Real-IP": "203.0.113.9",
        }
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._stop.is_set():
            at = time.monotonic()
            try:
                client.request("GET", "/authz/nginx", headers=headers)
                response = client.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                client.close()
                time.sleep(0.01)
                continue
            status = int(response.headers.get("X-Auth-Status") or response.status)
            self.answers.append(Asked(at, status, response.headers.get("X-Auth-Event-Id", "")))
        client.close()
