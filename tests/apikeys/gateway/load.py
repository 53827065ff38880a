"""Concurrent clients that record each response and when it was requested."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import NamedTuple

from tests.waiting import wait_until

ABOUT_ORDERS = {"X-Original-Method": "GET", "X-Original-URI": "/orders", "X-Real-IP": "203.0.113.9"}


class Answer(NamedTuple):
    """A response. at: when it was requested (time.monotonic); took: in seconds."""

    at: float
    status: int
    event: str
    took: float


def as_nginx(client, secret):
    client.request("GET", "/authz/nginx", headers=ABOUT_ORDERS | {"X-API-Key": secret})


def as_service(client, secret):
    # Proxies don't retry a POST.
    question = json.dumps({"key": secret, "method": "GET", "path": "/orders"})
    client.request("POST", "/authz/verify", question, {"Content-Type": "application/json"})


def as_client(client, secret):
    """A client of the API behind the gateway."""
    client.request("GET", "/orders", headers={"X-API-Key": secret})


def as_health_check(client, secret):
    client.request("GET", "/livez")


class Clients:
    """Threads that send requests until the block ends, over persistent connections.

    `answers` has the responses in any order, and `errors` the connections that broke, for example because a worker was killed.
    pause: seconds between a response and the next request, so that the servers get some of the machine's time.
    """

    def __init__(self, port, secrets, *, threads=4, asking=(as_nginx,), pause=0.005, host="127.0.0.1"):
        self.host, self.port, self.asking, self.pause = host, port, asking, pause
        self.answers, self.errors = [], []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(secrets[number % len(secrets)],)) for number in range(threads)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, number):
        """Wait for this many more answers."""
        goal = len(self.answers) + number
        wait_until(lambda: len(self.answers) >= goal, what=lambda: f"No more responses: {self.errors[-3:]}")

    def _ask(self, secret):
        client = http.client.HTTPConnection(self.host, self.port, timeout=60)
        while not self._stop.is_set():
            for ask in self.asking:
                at = time.monotonic()
                try:
                    ask(client, secret)
                    response = client.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException) as error:
                    client.close()
                    self.errors.append(repr(error))
                else:
                    status = int(response.headers.get("X-Auth-Status") or response.status)
                    event = response.headers.get("X-Auth-Event-Id", "")
                    self.answers.append(Answer(at, status, event, time.monotonic() - at))
                self._stop.wait(self.pause)
        client.close()
