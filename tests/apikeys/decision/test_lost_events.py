"""Every acknowledged decision has exactly one row, even if workers or the database are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid

import psycopg
import pytest

from apikeys.models import KeyUsage
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.clusters import cluster
from tests.apikeys.gateway.load import Clients
from tests.apikeys.gateway.servers import ROOT, gatehouse, workers_of
from tests.waiting import wait_until


def kill_workers(process, clients):
    for _ in range(4):
        clients.wait_for(60)
        os.kill(workers_of(process).pop(), signal.SIGKILL)


def reload_workers(process, clients):
    for _ in range(2):
        clients.wait_for(60)
        process.send_signal(signal.SIGHUP)


def reach_max_requests(process, clients):
    known = workers_of(process)
    # Under this load there can be more than two at any time: new ones start while old ones still serve.
    wait_until(lambda: not workers_of(process) & known)


def terminate(process, clients):
    clients.wait_for(60)
    process.send_signal(signal.SIGTERM)
    process.wait(60)


FAULTS = {
    "kill -9": (kill_workers, []),
    "SIGHUP": (reload_workers, []),
    "max-requests": (reach_max_requests, ["--max-requests", "40", "--max-requests-jitter", "10"]),
    "SIGTERM": (terminate, []),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("fault", "arguments"), FAULTS.values(), ids=FAULTS)
def test_every_acknowledged_decision_has_a_row(tmp_path, alice, bob, counters, fault, arguments):
    keys = [make_key(alice), make_key(bob)]
    with (
        gatehouse(tmp_path, *arguments, workers=2, DEFAULT_RATE_LIMIT_LIMIT="1000000000") as server,
        Clients(server.port, [key.secret for key in keys]) as clients,
    ):
        clients.wait_for(20)
        fault(server, clients)
        if fault is not terminate:
            clients.wait_for(60)
    acknowledged = [uuid.UUID(answer.event) for answer in clients.answers if answer.status == 200]
    assert len(acknowledged) >= 60
    assert {answer.status for answer in clients.answers} <= {200, 503}
    assert len(set(acknowledged)) == len(acknowledged)
    recorded = set(KeyUsage.objects.values_list("pk", flat=True))
    assert set(acknowledged) <= recorded
    # At most the requests in progress at the time of a crash were written but not acknowledged.
    assert len(recorded) - len(acknowledged) <= 4 * 5


SET_UP = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from accounts.models import User
from tests.apikeys.conftest import make_key
print(make_key(User.objects.create_user("alice", "alice@example.com")).secret)
"""


def test_an_immediate_restart_of_postgresql_loses_nothing(tmp_path):
    with cluster() as server:
        env = {"DATABASE_URL": server.url, "DJANGO_SETTINGS_MODULE": "config.settings", "VAR_DIR": str(tmp_path)}
        made = subprocess.run(
            [sys.executable, "-c", SET_UP], env=os.environ | env, cwd=ROOT, capture_output=True, text=True, check=True
        )
        secret = made.stdout.strip()
        with (
            gatehouse(tmp_path, workers=2, **env, DEFAULT_RATE_LIMIT_LIMIT="1000000000") as front,
            Clients(front.port, [secret]) as clients,
        ):
            for _ in range(2):
                clients.wait_for(60)
                server.control("restart", "-m", "immediate")
            clients.wait_for(60)
            # The last responses are 200 again: the workers recovered without a restart.
            wait_until(lambda: clients.answers[-1].status == 200)
        with psycopg.connect(server.url) as connection:
            recorded = {row[0] for row in connection.execute("SELECT id FROM key_usage WHERE status_code = 200")}
    acknowledged = [uuid.UUID(answer.event) for answer in clients.answers if answer.status == 200]
    assert {answer.status for answer in clients.answers} <= {200, 503}
    assert len(set(acknowledged)) == len(acknowledged) >= 100
    assert set(acknowledged) <= recorded
