"""A Gatehouse installation with its own services that a fault can break: database, Redis, nodes, and nginx in front of an API."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.apikeys.gateway.clusters import cluster
from tests.apikeys.gateway.servers import ROOT, call, free_port, gatehouse, gateway, workers_of
from tests.metrics import samples
from tests.ratelimits.stores.redis_faults import redis_server

# nginx itself is the API. It returns the ID of the decision.
API = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        add_header X-Auth-Event-Id $http_x_auth_event_id;
        return 200 "ok";
    }}
}}
"""
# In seconds, as in docs/deploy/gatehouse.service.
RESTART_AFTER = 1


# Replaces the clock that the functions in PostgreSQL use for counting. `by` moves it.
CLOCK = """
CREATE SCHEMA stepped;
CREATE TABLE stepped.clock (by interval);
INSERT INTO stepped.clock VALUES ('0');
CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql
AS 'SELECT pg_catalog.clock_timestamp() + by FROM stepped.clock';
ALTER DATABASE postgres SET search_path = stepped, pg_catalog, public;
"""


class Place(NamedTuple):
    """A way to deploy Gatehouse.

    arguments: for gunicorn. disk: size in megabytes of the disk with VAR_DIR and PostgreSQL's files, or 0 for the machine's disk.
    clock: whether PostgreSQL's clock can be moved.
    """

    name: str
    postgresql: bool = True
    redis: bool = False
    nodes: int = 1
    arguments: tuple[str, ...] = ()
    disk: int = 0
    clock: bool = False


class Node:
    """A server and its workers, as a service manager runs them."""

    def __init__(self, directory, arguments, environment):
        self.directory, self.arguments, self.environment = directory, arguments, environment
        self.port = free_port()
        self.earlier_log = ""
        self._running = ExitStack()

    def start(self):
        self.directory.mkdir(exist_ok=True)
        options = {"port": self.port, "workers": 2, **self.environment, "DRAIN_SECONDS": "2"}
        self.process = self._running.enter_context(gatehouse(self.directory, *self.arguments, **options))

    def stop(self):
        """Send SIGTERM, and wait until it has drained."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.forget()

    def kill(self):
        """Kill it and its workers."""
        for pid in [self.process.pid, *self.workers]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.forget()

    def forget(self):
        self.earlier_log = self.log
        self._running.close()

    @property
    def workers(self):
        return workers_of(self.process)

    @property
    def log(self):
        return self.earlier_log + Path(self.process.log).read_text()

    @property
    def counts(self):
        """Whether every worker can reach the rate limit store."""
        answer = call(self.port, path="/metrics")
        return answer.status == 200 and samples(answer.body.decode())["gatehouse_limiter_breaker_open",] == 0


class Redis:
    """Redis without persistence."""

    def __init__(self, directory):
        self.directory, self.port = directory, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._running = ExitStack()

    def start(self):
        self.process = self._running.enter_context(redis_server(self.directory, port=self.port))

    def stop(self):
        self._running.close()


class Installation:
    def __init__(self, directory, disk):
        self.directory, self.disk = directory, disk
        self.postgresql = self.redis = None
        self.nodes = []
        self.port = 0
        self.keys = {}

    @property
    def environment(self):
        return {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DEBUG": "false",
            "HTTPS_ONLY": "false",
            "DATABASE_URL": self.postgresql.url if self.postgresql else "",
            "REDIS_URL": self.redis.url if self.redis else "",
            "RATE_LIMIT_STORE_TIMEOUT": "40",
            "DEFAULT_RATE_LIMIT_LIMIT": "1000000000",
            "VAR_DIR": str(self.disk),
            "STATIC_ROOT": str(self.directory / "static"),
        }

    def python(self, *arguments, **environment):
        """Run Python in this installation's environment. Return the completed process."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def recorded(self):
        """The IDs of all usage rows."""
        select = "SELECT id FROM key_usage"
        if self.postgresql:
            return {row[0] for row in self.postgresql.query(select)}
        with sqlite3.connect(self.disk / "gatehouse.sqlite3", timeout=20) as connection:
            return {uuid.UUID(row[0]) for row in connection.execute(select)}

    def logs(self):
        """What each node has logged so far."""
        return [node.log for node in self.nodes]

    @contextmanager
    def full_disk(self):
        """Use up all free space until the block ends."""
        filling = self.disk / "filling"
        with filling.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        yield
        filling.unlink()


@contextmanager
def own_disk(megabytes):
    """A directory that PostgreSQL can access. If the size isn't 0, it's on a new disk."""
    directory = Path(tempfile.mkdtemp(prefix="gatehouse-disk-"))
    directory.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        if megabytes:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", directory]
            if subprocess.run(mount, capture_output=True, check=False).returncode:
                pytest.skip("No small disk can be mounted here: that takes root.")
            stack.callback(subprocess.run, ["umount", "--lazy", directory], check=True)
        yield directory


def configure_nodes_and_api(nodes, api_port):
    """Return a function that changes nginx's documented configuration: it lists all nodes, and adds the API."""

    def change(text):
        servers = " ".join(f"server 127.0.0.1:{node.port} fail_timeout=1s;" for node in nodes)
        changed, found = re.subn(r"server 127\.0\.0\.1:\d+; keepalive 16;", f"{servers} keepalive 16;", text)
        assert found == 1
        return changed + API.format(port=api_port)

    return change


@contextmanager
def installed(place, directory):
    """A running installation with keys."""
    with ExitStack() as stack:
        disk = stack.enter_context(own_disk(place.disk))
        site = Installation(directory, disk)
        if place.postgresql:
            site.postgresql = stack.enter_context(cluster(disk))
        if place.redis:
            site.redis = Redis(directory)
            stack.callback(site.redis.stop)
            site.redis.start()
        done = site.python("-m", "tests.faults.rows")
        assert done.returncode == 0, done.stderr
        site.keys = json.loads(done.stdout.splitlines()[-1])
        if place.clock:
            site.postgresql.query(CLOCK)
        for number in range(place.nodes):
            node = Node(directory / f"node-{number}", place.arguments, site.environment)
            stack.callback(node.kill)
            node.start()
            site.nodes.append(node)
        site.port = stack.enter_context(nginx_of(site)).port
        yield site


def nginx_of(site):
    api_port = free_port()
    return gateway(
        "nginx",
        site.directory / "nginx",
        gatehouse_port=site.nodes[0].port,
        upstream_port=api_port,
        secret="",
        change=configure_nodes_and_api(site.nodes, api_port),
    )
