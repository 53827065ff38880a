"""Redis servers that tests can break."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager

import redis

from tests.apikeys.gateway.servers import free_port
from tests.services import require
from tests.waiting import wait_until


@contextmanager
def redis_server(directory, *arguments, port=None):
    """A Redis server on `.port` that a test can break."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    require(program, "Install redis-server or valkey.")
    port = port or free_port()
    command = [program, "--port", str(port), "--save", "", "--dir", directory, "--bind", "127.0.0.1", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    server.port = port
    try:
        wait_until(lambda: responds(port))
        yield server
    finally:
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()


def responds(port):
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return client.ping()
    except redis.RedisError:
        return False


class Fault:
    """A reason why Redis can't count: commands that cause it and commands that end it."""

    def __init__(self, begin, end):
        self.begin, self.end = begin, end


FAULTS = {
    "a replica": Fault(["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"]),
    "full": Fault(["CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"]),
    "without its replicas": Fault(["CONFIG SET min-replicas-to-write 1"], ["CONFIG SET min-replicas-to-write 0"]),
    "not allowed to write": Fault(["ACL SETUSER default -set"], ["ACL SETUSER default +set"]),
    "not allowed to run scripts": Fault(["ACL SETUSER default -@scripting"], ["ACL SETUSER default +@scripting"]),
}


@contextmanager
def with_fault(port, name):
    """Redis can't count until the block ends. name: a key of FAULTS."""
    with redis.Redis(port=port) as client:
        for command in FAULTS[name].begin:
            client.execute_command(*command.split())
        try:
            yield
        finally:
            for command in FAULTS[name].end:
                client.execute_command(*command.split())


@contextmanager
def busy(port):
    """Redis runs an endless script and responds with BUSY to other clients."""
    endless = threading.Thread(target=run_forever, args=(port,))
    with redis.Redis(port=port, socket_timeout=10) as client:
        client.config_set("busy-reply-threshold", 50)
        endless.start()
        wait_until(lambda: is_busy(client))
        try:
            yield
        finally:
            client.execute_command("SCRIPT", "KILL")
            endless.join()


def is_busy(client):
    try:
        client.dbsize()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def run_forever(port):
    try:
        with redis.Redis(port=port, socket_timeout=60) as client:
            client.eval("while true do end", 0)
    except redis.ResponseError:
        pass  # killed on purpose
