"""Connections that clients keep open are spread over the workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from config import workers
from tests.apikeys.gateway.load import Clients, as_health_check
from tests.apikeys.gateway.servers import gatehouse, workers_of
from tests.waiting import wait_until

THREADS = 24


@pytest.fixture
def own_memory(monkeypatch):
    monkeypatch.setattr(workers, "states", bytearray(workers.SLOTS))
    monkeypatch.setattr(workers, "busy", [0] * workers.SLOTS)


@pytest.mark.parametrize(
    ("others", "own", "surplus"),
    [
        ((), 64, 0),
        ((8,), 8, 0),
        ((0,), 4, 0),
        ((0,), 8, 3),
        ((3,), 5, 0),
        ((2,), 6, 1),
        ((0,), 64, 28),
        ((28,), 36, 0),
        ((0, 0, 0), 40, 28),
        ((50, 60, 40), 10, 0),
    ],
)
@pytest.mark.usefixtures("own_memory")
def test_worker_gives_up_what_it_has_above_the_average(others, own, surplus):
    serving = [SimpleNamespace(age=age) for age in range(1, len(others) + 2)]
    for worker in serving:
        workers.set_state(worker, workers.SERVING)
    for worker, connections in zip(serving, others, strict=False):
        workers.surplus_of(worker, connections)
    assert workers.surplus_of(serving[-1], own) == surplus


@pytest.mark.parametrize("state", [workers.BOOTING, workers.WORN, workers.GONE])
@pytest.mark.usefixtures("own_memory")
def test_workers_that_do_not_serve_are_not_counted(state):
    serving, other = SimpleNamespace(age=1), SimpleNamespace(age=workers.SLOTS)
    workers.set_state(serving, workers.SERVING)
    workers.set_state(other, state)
    assert workers.state_of(other) == state
    assert workers.surplus_of(serving, 40) == 0


def sockets_of(pid):
    return sum(file.readlink().name.startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.gateway
@pytest.mark.django_db(transaction=True)
def test_connections_move_to_a_worker_that_has_none(tmp_path):
    with gatehouse(tmp_path, workers=2) as node:
        wait_until(lambda: Path(node.log).read_text().count("ASGI server listening") == len(workers_of(node)) == 2)
        idle, _ = workers_of(node)
        before = sockets_of(idle)
        os.kill(idle, signal.SIGSTOP)
        with Clients(node.port, [""], threads=THREADS, asking=(as_health_check,)) as clients:
            try:
                clients.wait_for(5 * THREADS)
            finally:
                os.kill(idle, signal.SIGCONT)
            wait_until(lambda: sockets_of(idle) - before > THREADS // 4)
            clients.wait_for(5 * THREADS)
        assert clients.errors == []
        assert {answer.status for answer in clients.answers} == {200}
