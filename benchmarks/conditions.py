"""How do idle connections and staff browsing pages affect the p99 of decisions?

    python -m benchmarks.conditions                                                    SQLite
    python -m benchmarks.conditions --database postgres://… [--redis redis://…]

64 clients make requests at 70% of the server's capacity: in turns with no other load, with 500 connections of which half have sent
half a request and the others nothing, and while four staff load /users/ and /admin/usage/ one after the other without pause: from the
same service, and from a second one with a lower priority. Each service has two worker processes. A ratio is the
median of the ratios of each round. The database named must be one that may be filled.

Writes benchmarks/results/conditions.json, and the table in docs/decision.md from it.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.report import ROOT, Rows, parser_with_stores, place_of, remember, write_table
from benchmarks.verification import OURS, SHARE_OF_LOAD, environment_of, ours_at, python, serving
from benchmarks.verification_load import Target, flood

CLIENTS = 64
CONNECTIONS = 500
STAFF = 4
PAGES = ("/users/", "/admin/usage/")
NICENESS = 10  # of the second service
ALONE = "nothing else"
Address = tuple[str, int]
HALF_A_REQUEST = b"GET /authz/nginx HTTP/1.1\r\nHost: gatehouse\r\nX-Original-Met"
SIGN_IN = """
import django
django.setup()
from django.conf import settings
from django.test import Client
from accounts.models import User
user = User.objects.filter(username="bench_staff").first() or User.objects.create_superuser(
    "bench_staff", "bench_staff@example.com", None
)
client = Client()
client.force_login(user)
print(f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}")
"""


def main() -> None:
    options = parse_arguments()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # DEBUG, because without it sessions need HTTPS.
        environment = environment_of(options.database, options.redis, directory) | {"DEBUG": "true"}
        server = ours_at(ROOT, "Gatehouse", [*OURS, "config.asgi"], environment, options)
        target = stack.enter_context(server)
        arguments = [*OURS, "config.asgi"]
        pages = stack.enter_context(serving(Target("pages"), arguments, environment, niceness=NICENESS))
        cookie = python(["-c", SIGN_IN], environment | {"DJANGO_SETTINGS_MODULE": "config.settings"})
        rows = measure(target, pages, cookie, options)
    write(remember("conditions", place_of(options.database, options.redis), rows))


def parse_arguments() -> argparse.Namespace:
    parser = parser_with_stores(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5, help="for each condition in each round")
    return parser.parse_args()


def measure(target: Target, pages: Target, cookie: str, options: argparse.Namespace) -> Rows:
    flood(target, 2, CLIENTS)  # warm caches, connections and prepared statements
    rate = statistics.median(flood(target, 3, CLIENTS).rate for _ in range(3))
    pause = max(1, round(CLIENTS / (rate * SHARE_OF_LOAD) * 1000))
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, condition in conditions(address_of(target), address_of(pages), cookie):
            with condition:
                found.setdefault(name, []).append(flood(target, options.seconds, CLIENTS, pause).p99)
    rows: Rows = [
        {
            "condition": name,
            "p99": round(statistics.median(values), 1),
            "to alone": round(statistics.median(one / two for one, two in zip(values, found[ALONE], strict=True)), 2),
        }
        for name, values in found.items()
    ]
    print(*rows, sep="\n")
    return rows


def address_of(target: Target) -> Address:
    url = urlsplit(target.url)
    return str(url.hostname), int(url.port or 80)


def conditions(gate: Address, pages: Address, cookie: str) -> Iterator[tuple[str, AbstractContextManager[Any]]]:
    yield ALONE, nullcontext()
    yield f"{CONNECTIONS} idle or half-open connections", idle_connections(gate)
    yield f"{STAFF} staff who browse", browsing_staff(gate, cookie)
    yield f"{STAFF} staff who browse a second service", browsing_staff(pages, cookie)


@contextmanager
def idle_connections(place: Address) -> Iterator[None]:
    """Only open for one turn, because the server closes connections that send no request."""
    with ExitStack() as stack:
        for number in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(place))
            if number % 2:
                connection.sendall(HALF_A_REQUEST)
        yield


@contextmanager
def browsing_staff(place: Address, cookie: str) -> Iterator[None]:
    is_finished = threading.Event()
    statuses: set[int] = set()
    threads = [threading.Thread(target=browse, args=(place, cookie, is_finished, statuses)) for _ in range(STAFF)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_finished.set()
        for thread in threads:
            thread.join()
    if statuses != {200}:
        sys.exit(f"Pages responded with {statuses}.")


def browse(place: Address, cookie: str, is_finished: threading.Event, statuses: set[int]) -> None:
    connection = http.client.HTTPConnection(*place)
    while not is_finished.is_set():
        for page in PAGES:
            connection.request("GET", page, headers={"Cookie": cookie})
            response = connection.getresponse()
            response.read()
            statuses.add(response.status)
    connection.close()


def write(results: dict[str, Rows]) -> None:
    lines = ["| | alongside | p99 at 70% load | ratio to nothing else |", "|---|---|---:|---:|"]
    for place, rows in results.items():
        lines += [f"| {place} | {row['condition']} | {row['p99']} ms | {row['to alone']} |" for row in rows]
    write_table("conditions", lines)


if __name__ == "__main__":
    main()
