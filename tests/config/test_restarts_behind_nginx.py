"""Nodes stop and restart behind nginx under load, and no request fails."""

from __future__ import annotations

import http.client
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.load import Clients, as_health_check, as_service
from tests.apikeys.gateway.servers import UNCHECKED, call, workers_of
from tests.config.nodes import node, proxy
from tests.waiting import wait_until

pytestmark = [pytest.mark.gateway, pytest.mark.django_db(transaction=True)]
Load = partial(Clients, threads=6, asking=(as_service, as_health_check))


def assert_all_answered(load):
    assert load.errors == []
    assert {answer.status for answer in load.answers} == {200}


@pytest.fixture
def secret(alice):
    return make_key(alice).secret


def test_restarting_nodes_fails_no_request(tmp_path, secret):
    two_workers = {"workers": 2, "DRAIN_SECONDS": "2"}
    with (
        node(tmp_path / "one", **two_workers) as one,
        node(tmp_path / "two", **two_workers) as two,
        proxy(tmp_path / "nginx", one, two) as front,
        Load(front.port, [secret]) as load,
    ):
        load.wait_for(50)
        one.send_signal(signal.SIGTERM)
        one.wait(60)
        load.wait_for(100)
        with node(tmp_path / "one", port=one.port, **two_workers):
            load.wait_for(100)
            two.send_signal(signal.SIGTERM)
            two.wait(60)
            load.wait_for(100)
            load.stop()
    assert_all_answered(load)


def send_sighup(process, load):
    for booted in (2, 4):
        wait_until(lambda booted=booted: Path(process.log).read_text().count("ASGI server listening") == booted)
        known = workers_of(process)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda known=known: len(workers_of(process)) == 2 and not workers_of(process) & known)


def wait_for_max_requests(process, load):
    """Wait until every worker has been replaced twice."""
    for _ in range(2):
        known = workers_of(process)
        wait_until(lambda known=known: not workers_of(process) & known)


RESTARTS = {
    "SIGHUP": (send_sighup, []),
    "max-requests": (wait_for_max_requests, ["--max-requests", "60", "--max-requests-jitter", "20"]),
}


@pytest.mark.parametrize(("restart", "arguments"), RESTARTS.values(), ids=RESTARTS)
def test_replacing_workers_fails_no_request(tmp_path, secret, restart, arguments):
    with (
        node(tmp_path / "one", *arguments, workers=2) as one,
        proxy(tmp_path / "nginx", one) as front,
        Load(front.port, [secret]) as load,
    ):
        load.wait_for(50)
        restart(one, load)
        load.wait_for(100)
    assert_all_answered(load)


def test_on_sighup_a_worker_serves_until_its_replacement_does(tmp_path):
    """Otherwise clients would wait while the new one boots."""
    with node(tmp_path / "one", workers=1) as one:
        [old] = workers_of(one)
        one.send_signal(signal.SIGHUP)
        wait_until(lambda: old not in workers_of(one))
        log = Path(one.log).read_text()
        assert log.count("ASGI server listening") == 2
        assert log.rindex("ASGI server listening") < log.index(f"Worker retires (pid: {old})")


# Seconds that a worker takes to boot, except for the first one.
BOOT_SECONDS = 5
SLOW_BOOT = f"""import time

{UNCHECKED}

def post_fork(server, worker):
    time.sleep({BOOT_SECONDS} if worker.age > 1 else 0)
"""


def test_a_worker_at_max_requests_serves_until_its_replacement_does(tmp_path, secret):
    (tmp_path / "slow.py").write_text(SLOW_BOOT)
    with (
        node(tmp_path / "one", "--max-requests", "60", "--max-requests-jitter", "9", "-c", tmp_path / "slow.py") as one,
        Load(one.port, [secret], threads=2) as load,
    ):
        load.wait_for(50)
        known = workers_of(one)
        wait_until(lambda: workers_of(one) and not workers_of(one) & known)
        load.wait_for(20)
    assert_all_answered(load)
    assert max(answer.took for answer in load.answers) < BOOT_SECONDS


def test_a_worker_killed_while_booting_is_replaced(tmp_path, secret):
    (tmp_path / "slow.py").write_text(SLOW_BOOT)
    with node(tmp_path / "one", "-c", tmp_path / "slow.py") as one, Load(one.port, [secret], threads=2) as load:
        load.wait_for(50)
        known = workers_of(one)
        one.send_signal(signal.SIGHUP)
        booting = wait_until(lambda: workers_of(one) - known)
        os.kill(booting.pop(), signal.SIGKILL)
        wait_until(lambda: workers_of(one) and not workers_of(one) & known)
        load.wait_for(20)
    assert_all_answered(load)


def test_a_draining_node_is_unready_but_still_serves(tmp_path):
    with node(tmp_path / "one", DRAIN_SECONDS="600") as one:
        kept = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        kept.request("GET", "/readyz")
        before = kept.getresponse()
        assert before.status == 200, before.read()
        before.read()
        one.send_signal(signal.SIGTERM)
        wait_until(lambda: call(one.port, path="/readyz").status == 503)
        ready = call(one.port, path="/readyz")
        assert ready.json() == {"status": "unavailable", "failing": ["shutting down"]}
        assert ready.headers["Cache-Control"] == "no-store"
        assert call(one.port, path="/livez").status == 200
        # The persistent connection gets a response that closes it.
        kept.request("GET", "/livez")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        kept.close()
        # A second SIGTERM ends draining early.
        one.send_signal(signal.SIGTERM)
        one.wait(60)
        assert one.returncode == 0


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]]
)
def test_ctrl_c_and_a_second_sigterm_do_not_wait(tmp_path, signals):
    with node(tmp_path / "one", DRAIN_SECONDS="600") as one:
        for each in signals:
            one.send_signal(each)
            wait_until(lambda: one.poll() is not None or "Draining for" in Path(one.log).read_text())
        one.wait(60)


def test_sigterm_ends_at_once_without_draining(tmp_path):
    with node(tmp_path / "one") as one:
        one.send_signal(signal.SIGTERM)
        one.wait(60)
    assert "Draining for" not in Path(one.log).read_text()
