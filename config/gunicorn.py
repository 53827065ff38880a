"""gunicorn's configuration: `gunicorn -c python:config.gunicorn config.asgi`."""

from __future__ import annotations

import asyncio
import gc
import math
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers import gasgi

from config.base import metric_files
from config.base.asgi import IS_CLOSED, Application, Receive, Scope, Send, send_response
from config.base.logs import JSONFormatter, SafeFormatter
from config.base.numbers import seconds, whole_number
from config.workers import BOOTING, GONE, SERVING, WORN, set_state, state_of, surplus_of

bind = (os.environ.get("BIND") or "127.0.0.1:8000").replace(" ", "").split(",")
# The mode of a unix socket: anyone who can write to it can ask, so only its owner and group can.
umask = 0o117
workers = whole_number(
    "WEB_CONCURRENCY",
    os.environ.get("WEB_CONCURRENCY") or min(2 * multiprocessing.cpu_count(), 8),
    smallest=1,
    largest=1_000,
)
timeout = 30
graceful_timeout = 20
asgi_lifespan = "off"
# Longer than a proxy in front keeps an idle connection, so that it isn't closed just as the proxy sends a request.
keepalive = 15
# Seconds between SIGTERM and the shutdown, for load balancers to notice that the node isn't ready.
drain_seconds = seconds("DRAIN_SECONDS", os.environ.get("DRAIN_SECONDS") or 5, longest=3_600)
# Frees memory that a library leaks. The jitter keeps workers from restarting together.
max_requests = 1_000_000
max_requests_jitter = 200_000
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108
# X-Forwarded-* is read by Django, as far as TRUSTED_PROXY_HOPS says; gunicorn itself trusts no header. The last two count
# where Gatehouse listens on a unix socket, whose peers gunicorn trusts whatever forwarded_allow_ips says.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# Gatehouse decides which methods a key may use: gunicorn would answer 400 to get, or to one of two letters.
permit_unconventional_http_method = True
# Another way to stop the server, which signals make unnecessary.
control_socket_disable = True
YES = {"1", "true", "yes"}
accesslog = "-" if os.environ.get("ACCESS_LOG", "").lower() in YES else None
errorlog = "-"
# A gateway puts the client's whole URL into a header, or behind Envoy's prefix, and passes long credentials on. Gatehouse
# has to deny them, because nginx turns gunicorn's own 414 and 431 into an error.
limit_request_line = 8190
limit_request_field_size = 16_380
limit_request_fields = 1000


class SecretFreeLogger(Logger):  # type: ignore[misc]
    """gunicorn's access and error logs, which contain URLs as clients sent them."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        as_json = os.environ.get("LOG_FORMAT") == "json"
        for log, line in ((self.error_log, self.error_fmt), (self.access_log, self.access_fmt)):
            for handler in log.handlers:
                handler.setFormatter(JSONFormatter() if as_json else SafeFormatter(line, self.datefmt))


logger_class = SecretFreeLogger


# --- Listening: only when a worker serves ---

# gunicorn's master would listen before any worker has loaded the application. Gateways would wait for it, although another node
# could answer. It takes the port, and the loop of the first worker that is ready listens.
sock.BaseSocket._is_listening = staticmethod(lambda _: True)


# --- Metrics: files that the workers share, in memory where there is such a place ---


def pre_fork(server: Any, worker: Any) -> None:
    metric_files.make_directory(worker_tmp_dir)
    set_state(worker, BOOTING)


def post_worker_init(worker: Any) -> None:
    """Keep loaded objects out of garbage collection: they stay, and scanning them stops all threads for 70 to 150 ms."""
    gc.collect()
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    set_state(worker, GONE)
    metric_files.add_up_dead(worker.pid)


def on_exit(server: Any) -> None:
    stop_jobs()
    metric_files.remove_directory()


# --- Scheduled jobs, if nothing else runs them on this machine: RUN_JOBS ---

jobs: list[subprocess.Popen[bytes]] = []  # one or none


def start_jobs() -> None:
    if os.environ.get("RUN_JOBS", "").lower() in YES:
        # This isn't a worker, so it counts for no metrics.
        environment = {name: value for name, value in os.environ.items() if name != metric_files.VARIABLE}
        command = [sys.executable, "manage.py", "run_jobs", f"--parent={os.getpid()}"]
        jobs.append(subprocess.Popen(command, env=environment))  # noqa: S603  (nothing from outside)


def stop_jobs() -> None:
    while jobs:
        process = jobs.pop()
        process.terminate()
        try:
            process.wait(graceful_timeout)
        except subprocess.TimeoutExpired:
            process.kill()


def on_reload(server: Any) -> None:
    """On SIGHUP, all workers are replaced, and jobs run new code too."""
    for worker in server.WORKERS.values():
        set_state(worker, WORN)
    stop_jobs()
    start_jobs()


# --- Replacing workers: SIGHUP, max_requests ---


def manage_workers(server: Any, by_gunicorn: Callable[[], None]) -> None:
    """As gunicorn does, but only stop a worker once its replacement serves: until then, requests would wait."""
    deadline = time.monotonic() + timeout
    while is_replacing(server) and time.monotonic() < deadline:
        server.reap_workers()
        time.sleep(0.1)
    by_gunicorn()


def is_replacing(server: Any) -> bool:
    """Whether replacements are booting. Starts those that are missing."""
    worn = sum(state_of(worker) == WORN for worker in server.WORKERS.values())
    missing = server.num_workers + worn - len(server.WORKERS) if worn else 0
    for _ in range(missing):
        server.spawn_worker()
    return worn > 0 and any(state_of(worker) == BOOTING for worker in server.WORKERS.values())


# --- Shutting down: SIGTERM ---

# Seconds after which a worker that ends closes an idle connection. Longer than the keepalive_timeout in docs/deployment.md:
# nginx has then closed it already, and isn't sending a request just now.
SETTLED = 5
# Seconds before gunicorn kills a worker, in which it ends itself.
RESERVE = 2
# Seconds between looks at which connections are busy.
BALANCED_EVERY = 0.25

# One byte that the master and its workers share; 1 while the node drains.
draining = mmap.mmap(-1, 1)


def when_ready(server: Any) -> None:
    server.handle_term = lambda: drain(server)
    server.manage_workers = partial(manage_workers, server, server.manage_workers)
    start_jobs()


def drain(server: Any) -> None:
    """On SIGTERM, keep serving for a while without being ready. A second SIGTERM, from here or from you, stops the node."""
    if draining[0] or not drain_seconds:
        raise StopIteration  # as gunicorn does
    draining[0] = 1
    server.log.info("Draining for %g seconds", drain_seconds)
    timer = threading.Timer(drain_seconds, server.SIG_QUEUE.put, [signal.SIGTERM])
    timer.daemon = True
    timer.start()


class Connection(gasgi.ASGIProtocol):  # type: ignore[misc]
    """A client's connection.

    A worker that shuts down closes it as soon as it's idle, and one with too many closes it after a response, so that the client
    opens another one, perhaps to another worker.
    """

    idle_since = math.inf
    is_surplus = False
    answered: Any = None  # the last request
    counted_requests = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.worker.connections.add(self)
        # gunicorn itself waits forever for a client's first request.
        self._arm_keepalive_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    def is_closed(self) -> bool:
        return bool(self._closed)

    def was_busy(self) -> bool:
        """Whether a request has come since the last call."""
        before, self.counted_requests = self.counted_requests, self.req_count
        return bool(self.counted_requests != before)

    def _is_websocket_upgrade(self, request: Any) -> bool:
        # Gateways pass on a client's Upgrade, which isn't meant for us.
        return False

    def _arm_keepalive_timer(self) -> None:
        super()._arm_keepalive_timer()
        if self.req_count > 1:
            self.idle_since = self.worker.loop.time()

    def _cancel_keepalive_timer(self) -> None:
        super()._cancel_keepalive_timer()
        self.idle_since = math.inf

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        # gunicorn can ask again after the response, which has already said what happens.
        if request is not self.answered and self.worker.surplus:
            self.worker.surplus -= 1
            self.is_surplus = True
        self.answered = request
        will_close = bool(draining[0]) or self.worker.is_retiring or self.is_surplus
        return will_close or super()._will_close(request, response_requires_close)

    def close_if_settled(self) -> None:
        if self.idle_since < self.worker.loop.time() - SETTLED:
            self._keepalive_timeout()

    def _build_http_scope(self, request: Any, sockname: Any, peername: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._build_http_scope(request, sockname, peername)
        scope.setdefault("extensions", {})[IS_CLOSED] = self.is_closed
        return scope


# The worker has no setting for it.
gasgi.ASGIProtocol = Connection


class DrainingWorker(gasgi.ASGIWorker):  # type: ignore[misc]
    """Shuts down without failing a request, and isn't ready while it drains.

    gunicorn's own worker closes connections without announcing it. By then, a proxy may have sent the next request, and
    doesn't repeat a POST. This worker stays alive until it has announced the end of all its connections.
    """

    is_retiring = False
    surplus = 0  # connections to close
    max_requests: int
    ppid: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: set[Connection] = set()
        self.requests_in_life: int = self.max_requests
        self.max_requests = sys.maxsize

    async def _serve(self) -> None:
        self.balance()
        await super()._serve()
        if not self.servers:  # someone else listens on this port
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.asgi: Application = ready_unless_draining(self.asgi)

    def balance(self) -> None:
        self.surplus = surplus_of(self, sum(connection.was_busy() for connection in self.connections))
        self.loop.call_later(BALANCED_EVERY, self.balance)

    def notify(self) -> None:
        """Called about once a second, from when this worker serves."""
        super().notify()
        if self.ppid != os.getppid():
            self.outlive_master()
        elif self.nr >= self.requests_in_life:
            set_state(self, WORN)
        elif state_of(self) == BOOTING:
            set_state(self, SERVING)
            for listener in self.sockets:
                listener.listen(self.cfg.backlog)  # The loop has asked for 100.

    def outlive_master(self) -> None:
        """The master was killed. Leave the port to the next one, which may have other settings."""
        self.log.error("The master is gone (pid: %s)", self.ppid)
        self.ppid = os.getppid()  # otherwise gunicorn closes connections unannounced
        signal.alarm(self.cfg.graceful_timeout)  # ends this process, as the master would
        self.retire()

    def handle_exit_signal(self) -> None:
        self.retire()

    def retire(self) -> None:
        if not self.is_retiring:
            self.is_retiring = True
            self.log.info("Worker retires (pid: %s)", self.pid)
            self.retirement = self.loop.create_task(self.close_connections())

    async def close_connections(self) -> None:
        deadline = self.loop.time() + self.cfg.graceful_timeout - RESERVE
        await self.stop_listening()
        while self.connections and self.loop.time() < deadline:
            for connection in tuple(self.connections):
                connection.close_if_settled()
            await asyncio.sleep(0.1)
        self.alive = False

    async def stop_listening(self) -> None:
        """Close the listening sockets, but first accept the connections that wait there: the kernel would reset them."""
        listeners = [listener.sock.dup() for listener in self.sockets]
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.setblocking(False)
            with listener, suppress(BlockingIOError):
                while True:
                    client, _ = listener.accept()
                    await self.loop.connect_accepted_socket(partial(gasgi.ASGIProtocol, self), client)

    async def _shutdown(self) -> None:
        await super()._shutdown()
        # A thread that hands over part of a response just as the loop ends would wait for it forever.
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=1)


worker_class = DrainingWorker


def ready_unless_draining(application: Application) -> Application:
    """`application`, an ASGI application; /readyz says 503 while the node drains."""

    async def gatehouse(scope: Scope, receive: Receive, send: Send) -> None:
        if not draining[0] or scope["type"] != "http" or scope["path"] != "/readyz":
            await application(scope, receive, send)
            return
        body = b'{"status": "unavailable", "failing": ["shutting down"]}'
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send_response(send, 503, headers, body)

    return gatehouse


def on_starting(server: Any) -> None:
    """Refuse to serve with settings that the deployment checks call an error.

    In a process of its own, so that the master imports no application code and SIGHUP loads new code.
    """
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy"], capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.stderr.write(result.stdout + result.stderr)
        sys.stderr.write("\nGatehouse can't start with these settings.\n")
        sys.exit(3)
