"""Every acknowledged decision has its row, and none has two, whatever becomes of the workers or the database."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid

import pytest

from apikeys.models import KeyUsage
from tests.apikeys.conftest import make_key
from tests.apikeys.load import Clients
from tests.apikeys.servers import gatehouse

pytestmark = pytest.mark.django_db(transaction=True)


def workers_of(process):
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def kill_workers(process, clients):
    for _ in range(4):
        clients.wait_for(60)
        os.kill(workers_of(process)[0], signal.SIGKILL)


def hang_up(process, clients):
    for _ in range(2):
        clients.wait_for(60)
        process.send_signal(signal.SIGHUP)


def wear_workers_out(process, clients):
    known = set(workers_of(process))
    clients.wait_for(150, seconds=60)
    assert set(workers_of(process)) != known


def stop(process, clients):
    clients.wait_for(60)
    process.send_signal(signal.SIGTERM)
    process.wait(15)


TROUBLES = {
    "kill -9": (kill_workers, []),
    "SIGHUP": (hang_up, []),
    "max-requests": (wear_workers_out, ["--max-requests", "40", "--max-requests-jitter", "10"]),
    "SIGTERM": (stop, []),
}


@pytest.mark.parametrize(("trouble", "arguments"), TROUBLES.values(), ids=TROUBLES)
def test_every_acknowledged_decision_has_its_row(tmp_path, alice, bob, counters, trouble, arguments):
    keys = [make_key(alice), make_key(bob)]
    with (
        gatehouse(
            tmp_path, "-w", "2", "-k", "gthread", "--threads", "2", *arguments, DEFAULT_RATE_LIMIT_LIMIT="1000000000"
        ) as server,
        Clients(server.port, [key.secret for key in keys]) as clients,
    ):
        clients.wait_for(20)
        trouble(server, clients)
        if trouble is not stop:
            clients.wait_for(60)
        time.sleep(0.05)
    acknowledged = [uuid.UUID(answer.event) for answer in clients.answers if answer.status == 200]
    assert len(acknowledged) >= 60
    assert {answer.status for answer in clients.answers} <= {200, 503}
    assert len(set(acknowledged)) == len(acknowledged)
    recorded = set(KeyUsage.objects.values_list("pk", flat=True))
    assert set(acknowledged) <= recorded
    # What was written and not acknowledged is at most what was under way when something died.
    assert len(recorded) - len(acknowledged) <= 4 * 5
