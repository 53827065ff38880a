"""gunicorn's configuration: `gunicorn -c python:config.gunicorn config.wsgi`."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from config.base.logs import SafeFormatter

bind = (os.environ.get("BIND") or "127.0.0.1:8000").replace(" ", "").split(",")
# For the file of a unix socket: whoever may write to it may ask, so its owner and group and nobody else.
umask = 0o117
workers = int(os.environ.get("WEB_CONCURRENCY") or min(2 * multiprocessing.cpu_count(), 8))
threads = int(os.environ.get("WEB_THREADS") or 4)
timeout = 30
graceful_timeout = 20
# Longer than a proxy in front keeps an idle connection, which is then never closed just as the proxy sends a request.
keepalive = 15
# Seconds between SIGTERM and the end, in which load balancers see that the node isn't ready and go elsewhere.
drain_seconds = float(os.environ.get("DRAIN_SECONDS") or 5)
# Memory that a library leaks is given back; the jitter keeps workers from restarting together.
max_requests = 20_000
max_requests_jitter = 2_000
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108
# X-Forwarded-* is read by Django, as far as TRUSTED_PROXY_HOPS says; gunicorn itself trusts no header. The last two count
# where Gatehouse listens on a unix socket, whose peers gunicorn trusts whatever forwarded_allow_ips says.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# Which methods a key may use is ours to say: gunicorn would answer 400 to get, or to one of two letters.
permit_unconventional_http_method = True
# One more thing that could be asked to stop the server; signals do.
control_socket_disable = True
accesslog = "-" if os.environ.get("ACCESS_LOG", "").lower() in {"1", "true", "yes"} else None
errorlog = "-"
# A gateway puts the client's whole address into a header, or behind Envoy's prefix, and passes long credentials on: they
# are ours to refuse, as nginx makes an error of gunicorn's own 414 and 431.
limit_request_line = 8190
limit_request_field_size = 16_380
limit_request_fields = 1000


class SecretFreeLogger(Logger):  # type: ignore[misc]
    """gunicorn's logs of accesses and errors, which show addresses as clients wrote them."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log, line in ((self.error_log, self.error_fmt), (self.access_log, self.access_fmt)):
            for handler in log.handlers:
                handler.setFormatter(SafeFormatter(line, self.datefmt))


logger_class = SecretFreeLogger


# --- The end of a node: SIGTERM ---

# One byte that the master and its workers share; 1 while the node drains.
draining = mmap.mmap(-1, 1)


def when_ready(server: Any) -> None:
    server.handle_term = lambda: drain(server)


def drain(server: Any) -> None:
    """On SIGTERM go on serving for a while, not ready any more. The second SIGTERM, ours or yours, ends the node."""
    if draining[0] or not drain_seconds:
        raise StopIteration  # as gunicorn does
    draining[0] = 1
    server.log.info("Draining for %g seconds", drain_seconds)
    timer = threading.Timer(drain_seconds, server.SIG_QUEUE.put, [signal.SIGTERM])
    timer.daemon = True
    timer.start()


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """Accepts the connections that are already waiting before it closes its listeners."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi: Callable[..., Iterable[bytes]] = ready_unless_draining(self.wsgi)

    def handle_request(self, req: Any, conn: Any) -> Any:
        if draining[0]:
            self.max_keepalived = 0  # answers say "Connection: close" from now on
        return super().handle_request(req, conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if draining[0] and not self.alive:
            for listener in self.sockets:
                self.accept_waiting(listener)
                # Now, not after the last answer: new connections are refused at once, so the proxy tries another node.
                listener.close()

    def accept_waiting(self, listener: Any) -> None:
        known = -1
        while known < self.nr_conns:
            known = self.nr_conns
            self.accept(listener)


worker_class = DrainingWorker


def ready_unless_draining(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """`application`, a WSGI application; /readyz says 503 while the node drains."""

    def gatehouse(environ: Any, start_response: Any) -> Iterable[bytes]:
        if not draining[0] or environ["PATH_INFO"] != "/readyz":
            return application(environ, start_response)
        body = b'{"status": "unavailable", "failing": ["shutting down"]}'
        headers = [
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
            ("Content-Length", str(len(body))),
        ]
        start_response("503 Service Unavailable", headers)
        return [body]

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
        sys.stderr.write("\nGatehouse does not start with these settings.\n")
        sys.exit(3)
