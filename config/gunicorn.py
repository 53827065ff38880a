"""gunicorn's configuration: `gunicorn -c python:config.gunicorn config.wsgi`."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from typing import Any

from gunicorn.glogging import Logger

from config.base_logs import SecretFreeFormatter

bind = (os.environ.get("BIND") or "127.0.0.1:8000").replace(" ", "").split(",")
# For the file of a unix socket: whoever may write to it may ask, so its owner and group and nobody else.
umask = 0o117
workers = int(os.environ.get("WEB_CONCURRENCY") or min(2 * multiprocessing.cpu_count(), 8))
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS") or 4)
timeout = 30
graceful_timeout = 20
keepalive = 15
# Memory that a library leaks is given back; the jitter keeps workers from restarting together.
max_requests = 20_000
max_requests_jitter = 2_000
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108
# X-Forwarded-* is read by Django, as far as TRUSTED_PROXY_HOPS says; gunicorn itself trusts no header.
forwarded_allow_ips = ""
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
                handler.setFormatter(SecretFreeFormatter(line, self.datefmt))


logger_class = SecretFreeLogger


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
