"""With systemd's socket activation (docs/deploy/gatehouse.socket), connections wait while a node restarts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.load import Clients, as_health_check, as_service
from tests.apikeys.gateway.servers import (
    HERE,
    SCRIPTS,
    UNCHECKED,
    call,
    database_url,
    free_port,
    gatehouse,
    workers_of,
)
from tests.config.test_deployment_files import ROOT
from tests.services import require
from tests.waiting import wait_until

pytestmark = [pytest.mark.gateway, pytest.mark.django_db(transaction=True)]
# As systemd passes a socket: as file descriptor 3, with variables for the process.
AS_SYSTEMD = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&"$0"'


@pytest.fixture
def secret(alice):
    return make_key(alice).secret


@pytest.fixture
def listener():
    """A listening socket like systemd's, which stays open when the node ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        yield listener


@contextmanager
def activated(directory, listener, **options):
    directory.mkdir(exist_ok=True)
    passed = listener.fileno()
    machine = HERE._replace(within=("bash", "-c", AS_SYSTEMD, str(passed)))
    port = listener.getsockname()[1]
    with gatehouse(directory, port=port, machine=machine, pass_fds=(passed,), **options) as node:
        yield node


def stop_node(node, signal_number):
    workers = workers_of(node)
    node.send_signal(signal_number)
    node.wait(60)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_refuses_no_connection(tmp_path, listener, secret, signal_number):
    start = partial(activated, tmp_path / "node", listener, workers=2, DRAIN_SECONDS="1")
    # Killing a node also breaks open connections, but this is about new ones.
    with Clients(listener.getsockname()[1], [secret], threads=6, asking=(as_service, as_health_check)) as load:
        for _ in range(2):
            with start() as node:
                load.wait_for(100)
                stop_node(node, signal_number)
        with start():
            load.wait_for(100)
            load.stop()
    assert [error for error in load.errors if "refused" in error or signal_number == signal.SIGTERM] == []
    assert {answer.status for answer in load.answers} == {200}


def test_a_connection_waits_until_the_node_serves(tmp_path, listener):
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with activated(tmp_path / "node", listener):
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_reload_keeps_the_socket(tmp_path, listener, secret):
    with activated(tmp_path / "node", listener) as node, Clients(node.port, [secret], asking=(as_service,)) as load:
        old = workers_of(node)
        load.wait_for(20)
        node.send_signal(signal.SIGHUP)
        wait_until(lambda: not workers_of(node) & old)
        load.wait_for(20)
        load.stop()
    assert load.errors == []


def test_systemd_starts_the_server_on_the_first_connection(tmp_path):
    """systemd-socket-activate listens, and runs the server when a client connects."""
    activate = shutil.which("systemd-socket-activate")
    require(activate, "Install systemd (Debian: apt-get install systemd).")
    (tmp_path / "unchecked.py").write_text(UNCHECKED)
    port = free_port()
    # BIND is ignored. Otherwise the port would be taken.
    environment = os.environ | {"DATABASE_URL": database_url(), "VAR_DIR": str(tmp_path), "BIND": f"127.0.0.1:{port}"}
    passed = [
        f"--setenv={name}" for name in ("DATABASE_URL", "VAR_DIR", "BIND", "SECRET_KEY", "API_KEY_PEPPERS", "DEBUG")
    ]
    command = [activate, f"--listen=127.0.0.1:{port}", *passed, SCRIPTS / "gunicorn", "-c", tmp_path / "unchecked.py"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*command, "config.asgi"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: "Listening on" in (tmp_path / "log").read_text())
            assert call(port, path="/livez").status == 200
        finally:
            server.terminate()
            server.wait(60)
