"""When a node listens: not before it can answer, for as many clients as come, and no longer than its master lives."""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.apikeys.gateway.servers import (
    ROOT,
    SCRIPTS,
    UNCHECKED,
    call,
    database_url,
    free_port,
    gatehouse,
    listens,
    workers_of,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.gateway, pytest.mark.django_db(transaction=True)]

# What a client meets before the worker has loaded the application.
KNOCKING = f"""import socket

{UNCHECKED}

def post_fork(server, worker):
    with socket.socket() as client:
        server.log.info("Knocked: %s", client.connect_ex(server.LISTENERS[0].getsockname()))
"""


def log_of(node):
    return Path(node.log).read_text()


def test_a_node_refuses_connections_until_a_worker_serves(tmp_path):
    """A gateway then asks another node instead of waiting."""
    (tmp_path / "knocking.py").write_text(KNOCKING)
    with gatehouse(tmp_path, "-c", tmp_path / "knocking.py") as node:
        assert f"Knocked: {errno.ECONNREFUSED}\n" in log_of(node)


def test_many_clients_can_connect_while_a_worker_is_busy(tmp_path):
    """Beyond the backlog, each would try again after a second."""
    with gatehouse(tmp_path) as node, ExitStack() as clients:
        [worker] = workers_of(node)
        os.kill(worker, signal.SIGSTOP)
        clients.callback(os.kill, worker, signal.SIGCONT)
        for _ in range(300):
            client = clients.enter_context(socket.socket())
            client.settimeout(0.9)
            client.connect(("127.0.0.1", node.port))


def test_a_port_that_is_taken_ends_the_node(tmp_path):
    """Another process listens there after this one has reserved the port."""
    taking = "import socket\n\nother = socket.socket()\nother.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\n"
    hook = "\ndef post_fork(server, worker):\n    other.bind(server.LISTENERS[0].getsockname())\n    other.listen()\n"
    (tmp_path / "taking.py").write_text(taking + UNCHECKED + hook)
    command = [SCRIPTS / "gunicorn", "-c", tmp_path / "taking.py", "-b", f"127.0.0.1:{free_port()}", "config.asgi"]
    environment = os.environ | {"DATABASE_URL": database_url(), "WEB_CONCURRENCY": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "Worker failed to boot" in ended.stderr


def connection_to(node):
    return http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)


def ask(client, path="/livez"):
    client.request("GET", path)
    answer = client.getresponse()
    answer.read()
    return answer.status, answer.headers["Connection"]


def is_gone(pid):
    return not Path(f"/proc/{pid}").exists()


def test_without_their_master_workers_leave_the_port_and_finish(tmp_path):
    with gatehouse(tmp_path, workers=2) as node, closing(connection_to(node)) as client:
        workers = workers_of(node)
        assert ask(client) == (200, None)
        node.kill()
        node.wait()
        wait_until(lambda: not listens(node.port))
        # A kept connection is answered, and told to come to an end.
        assert ask(client) == (200, "close")
        with gatehouse(tmp_path, port=node.port) as successor:
            wait_until(lambda: all(map(is_gone, workers)))
            assert call(successor.port, path="/livez").status == 200


def test_without_their_master_workers_end_whatever_they_wait_for(tmp_path):
    with gatehouse(tmp_path, "--graceful-timeout", "4") as node, socket.socket() as client:
        [worker] = workers_of(node)
        client.connect(("127.0.0.1", node.port))
        client.sendall(b"POST /authz/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        node.kill()
        node.wait()
        wait_until(lambda: is_gone(worker))
        assert "The master is gone" in log_of(node)
        assert "Worker exiting" not in log_of(node)
