"""Nodes stop and restart behind a real nginx, under load: every response comes from Gatehouse."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import ROOT, call, free_port, gatehouse, nginx_command, require_gateway, running
from tests.ratelimits.stores.refusing import wait_until

CONFIG = ["-c", "python:config.gunicorn"]
SETTINGS = {
    "WEB_CONCURRENCY": "2",
    "WEB_THREADS": "4",
    "DRAIN_SECONDS": "2",
    "DEBUG": "false",
    "DJANGO_ALLOW_ASYNC_UNSAFE": "",  # set for tests, but not allowed in a deployment
    "HTTPS_ONLY": "false",
    "GATEWAY_SECRET": "Bn4_Ht7-Ye9.Uc2~Aj6+Fl0=Dp3*Og8",
    "SECRET_KEY": "Wq3_Zr9-Ty1.Lk5~Mn7+Pb2=Xc8*Vd4" * 2,
    "DEFAULT_RATE_LIMIT_LIMIT": "1000000000",
}


HEADERS = {"Content-Type": "application/json", "X-Gateway-Secret": SETTINGS["GATEWAY_SECRET"]}


@contextmanager
def node(tmp_path, name, *arguments, port=None, **environment):
    directory = tmp_path / name
    directory.mkdir(exist_ok=True)
    with gatehouse(directory, *CONFIG, *arguments, port=port, **{**SETTINGS, **environment}) as process:
        yield process


def published(ports, listen):
    """The upstream of docs/deployment.md, with /authz/ passed on too."""
    text = (ROOT / "docs/deployment.md").read_text()
    upstream = re.search(r"```nginx\n(\s+upstream gatehouse.*?)```", text, flags=re.DOTALL)[1]
    # nginx accepts the same server twice, so a single node can be both.
    for name, port in zip(("node-1:8000", "node-2:8000"), (ports[0], ports[-1]), strict=True):
        upstream = upstream.replace(name, f"127.0.0.1:{port}")
    return f"""{upstream}
    server {{
        listen 127.0.0.1:{listen};
        location / {{
            proxy_pass http://gatehouse;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}"""


@contextmanager
def proxy(directory, *ports):
    require_gateway("nginx")
    listen = free_port()
    directory.mkdir()
    command = nginx_command(published(ports, listen), directory)
    with running(command, directory / "log", port=listen) as process:
        yield process


class Load:
    """Clients that ask about a key and for /livez over kept connections, until the block ends."""

    def __init__(self, port, secret, threads=6):
        self.port, self.statuses = port, Counter()
        self.question = json.dumps({"key": secret, "method": "GET", "path": "/orders"})
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for(50)
        return self

    def __exit__(self, *exception):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, number, seconds=30):
        goal, deadline = self.statuses.total() + number, time.monotonic() + seconds
        while self.statuses.total() < goal:
            assert time.monotonic() < deadline, f"no answers any more: {self.statuses}"
            time.sleep(0.01)

    def _ask(self):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._stop.is_set():
            for ask in (self._about_a_key, self._for_life):
                try:
                    ask(client)
                    response = client.getresponse()
                    response.read()
                    status = response.status
                except (http.client.HTTPException, OSError) as error:
                    client.close()
                    status = repr(error)
                with self._lock:
                    self.statuses[ask.__name__, status] += 1
        client.close()

    def _about_a_key(self, client):
        client.request("POST", "/authz/verify", self.question, HEADERS)

    def _for_life(self, client):
        client.request("GET", "/livez")

    def assert_all_answered(self):
        assert set(self.statuses) == {("_about_a_key", 200), ("_for_life", 200)}, self.statuses


@pytest.fixture
def secret(transactional_db, alice):
    return make_key(alice).secret


@pytest.mark.django_db(transaction=True)
def test_a_node_that_is_stopped_and_started_again_costs_no_answer(tmp_path, secret):
    with (
        node(tmp_path, "one") as one,
        node(tmp_path, "two") as two,
        proxy(tmp_path / "nginx", one.port, two.port) as front,
        Load(front.port, secret) as load,
    ):
        one.send_signal(signal.SIGTERM)
        one.wait(30)
        load.wait_for(100)
        with node(tmp_path, "one", port=one.port):
            load.wait_for(100)
            two.send_signal(signal.SIGTERM)
            two.wait(30)
            load.wait_for(100)
            load._stop.set()
            for thread in load._threads:
                thread.join()
    load.assert_all_answered()


def hang_up(process, load):
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        time.sleep(3)


def wear_out(process, load):
    load.wait_for(600, seconds=60)


RESTARTS = {
    "SIGHUP": (hang_up, []),
    "max-requests": (wear_out, ["--max-requests", "80", "--max-requests-jitter", "20"]),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("restart", "arguments"), RESTARTS.values(), ids=RESTARTS)
def test_workers_that_are_replaced_cost_no_answer(tmp_path, secret, restart, arguments):
    with (
        node(tmp_path, "one", *arguments) as one,
        proxy(tmp_path / "nginx", one.port) as front,
        Load(front.port, secret) as load,
    ):
        restart(one, load)
        load.wait_for(100)
    load.assert_all_answered()


@pytest.mark.django_db(transaction=True)
def test_a_node_that_drains_says_so_and_goes_on(tmp_path):
    with node(tmp_path, "one", DRAIN_SECONDS="8") as one:
        kept = http.client.HTTPConnection("127.0.0.1", one.port, timeout=15)
        kept.request("GET", "/readyz")
        before = kept.getresponse()
        assert before.status == 200, before.read()
        before.read()
        one.send_signal(signal.SIGTERM)
        wait_until(lambda: call(one.port, path="/readyz").status == 503, seconds=20)
        ready = call(one.port, path="/readyz")
        assert ready.json() == {"status": "unavailable", "failing": ["shutting down"]}
        assert ready.headers["Cache-Control"] == "no-store"
        assert call(one.port, path="/livez").status == 200
        # The kept connection gets its response, which closes it.
        kept.request("GET", "/livez")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        kept.close()
        one.wait(30)
        assert one.returncode == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]]
)
def test_ctrl_c_and_a_second_sigterm_do_not_wait(tmp_path, signals):
    with node(tmp_path, "one", DRAIN_SECONDS="600") as one:
        for each in signals:
            one.send_signal(each)
            time.sleep(0.5)
        one.wait(30)


@pytest.mark.django_db(transaction=True)
def test_without_a_drain_sigterm_ends_at_once(tmp_path):
    with node(tmp_path, "one", DRAIN_SECONDS="0") as one:
        one.send_signal(signal.SIGTERM)
        one.wait(30)
    assert "Draining for" not in (tmp_path / "one" / "gatehouse.log").read_text()
