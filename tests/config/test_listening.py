"""A node listens once a worker serves, accepts many clients, and stops listening when its master is gone."""

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

# Connects before the worker has loaded the application, and logs the result.
CONNECT_EARLY = f"""import socket

{UNCHECKED}

def post_fork(server, worker):
    with socket.socket() as client:
        server.log.info("Early connection: %s", client.connect_ex(server.LISTENERS[0].getsockname()))
"""


def log_of(node):
    return Path(node.log).read_text()


def test_connections_are_refused_until_a_worker_serves(tmp_path):
    """So that a gateway asks another node instead of waiting."""
    (tmp_path / "connect_early.py").write_text(CONNECT_EARLY)
    with gatehouse(tmp_path, "-c", tmp_path / "connect_early.py") as node:
        assert f"Early connection: {errno.ECONNREFUSED}\n" in log_of(node)


def test_many_clients_can_connect_while_a_worker_is_busy(tmp_path):
    """Connections beyond the backlog would be retried after a second."""
    with gatehouse(tmp_path) as node, ExitStack() as clients:
        [worker] = workers_of(node)
        os.kill(worker, signal.SIGSTOP)
        clients.callback(os.kill, worker, signal.SIGCONT)
        for _ in range(300):
            client = clients.enter_context(socket.socket())
            client.settimeout(0.9)
            client.connect(("127.0.0.1", node.port))


def test_a_node_ends_if_its_port_is_taken(tmp_path):
    """Another process listens on the port after gunicorn has bound it."""
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


def test_workers_stop_listening_and_finish_without_their_master(tmp_path):
    with gatehouse(tmp_path, workers=2) as node, closing(connection_to(node)) as client:
        workers = workers_of(node)
        assert ask(client) == (200, None)
        node.kill()
        node.wait()
        wait_until(lambda: not listens(node.port))
        # A request on a persistent connection gets a response that closes it.
        assert ask(client) == (200, "close")
        with gatehouse(tmp_path, port=node.port) as successor:
            wait_until(lambda: all(map(is_gone, workers)))
            assert call(successor.port, path="/livez").status == 200


def test_workers_without_their_master_end_after_the_timeout(tmp_path):
    with gatehouse(tmp_path, "--graceful-timeout", "4") as node, socket.socket() as client:
        [worker] = workers_of(node)
        client.connect(("127.0.0.1", node.port))
        client.sendall(b"POST /authz/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        node.kill()
        node.wait()
        wait_until(lambda: is_gone(worker))
        assert "The master is gone" in log_of(node)
        assert "Worker exiting" not in log_of(node)
