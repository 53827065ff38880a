"""Files are only accessible to the user who runs Gatehouse, and its unix socket to that user and group."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from config.write_env import write_env
from ratelimits.stores.sqlite import SQLiteStore
from tests.config.settings_file import PRODUCTION, ROOT, read_settings
from tests.waiting import wait_until


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
    """A umask of 0: without explicit modes, everything would be accessible to everyone."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_the_database_and_its_directory_are_private(tmp_path):
    var = tmp_path / "deep" / "var"
    read_settings(var)
    assert (mode(var), mode(var / "gatehouse.sqlite3")) == (0o700, 0o600)


@pytest.mark.usefixtures("open_umask")
def test_a_database_in_another_directory_is_private(tmp_path):
    read_settings(tmp_path / "var", DATABASE_URL=f"sqlite:///{tmp_path}/other/db.sqlite3")
    assert (mode(tmp_path / "other"), mode(tmp_path / "other" / "db.sqlite3")) == (0o700, 0o600)


def test_existing_files_keep_their_mode_and_content(tmp_path):
    path = tmp_path / "gatehouse.sqlite3"
    path.write_text("rows")
    path.chmod(0o640)
    tmp_path.chmod(0o750)
    read_settings(tmp_path)
    assert (mode(tmp_path), mode(path), path.read_text()) == (0o750, 0o640, "rows")


@pytest.mark.usefixtures("open_umask")
def test_counters_and_their_journal_are_private(tmp_path):
    store = SQLiteStore(tmp_path / "var" / "counters.sqlite3", timeout=5)
    store.clear()
    files = list((tmp_path / "var").iterdir())
    assert len(files) == 3
    assert {mode(path) for path in files} == {0o600}
    assert mode(tmp_path / "var") == 0o700
    store.close()


@pytest.mark.usefixtures("open_umask")
def test_a_new_env_file_is_private(tmp_path):
    write_env(tmp_path / ".env")
    assert mode(tmp_path / ".env") == 0o600


@contextmanager
def gunicorn(var, bind, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn", *arguments, "config.asgi"],
        cwd=ROOT,
        env=PRODUCTION | {"BIND": bind, "VAR_DIR": str(var), "WEB_CONCURRENCY": "1", "DRAIN_SECONDS": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        umask=0,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def first_mode(path, process):
    """The mode of a file when it first appears."""

    def mode_now():
        assert process.poll() is None
        try:
            return mode(path)
        except FileNotFoundError:
            return None

    return wait_until(mode_now, every=0.0005)


def livez(path):
    """The status line of GET /livez over a unix socket, once a server listens on it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        wait_until(lambda: client.connect_ex(str(path)) == 0)
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return client.recv(4096).partition(b"\r\n")[0]


def test_unix_sockets_are_only_accessible_to_user_and_group(tmp_path):
    paths = [tmp_path / "a.sock", tmp_path / "b.sock"]
    bind = f"unix:{paths[0]}, unix://{paths[1]},127.0.0.1:0"
    with gunicorn(tmp_path / "var", bind, "--pid", str(tmp_path / "pid")) as process:
        assert [first_mode(path, process) for path in paths] == [0o660, 0o660]
        assert [livez(path) for path in paths] == [b"HTTP/1.1 200 OK"] * 2
        assert [mode(path) for path in paths] == [0o660, 0o660]
        assert {path.stat().st_gid for path in paths} == {os.getegid()}
        assert mode(tmp_path / "pid") & 0o022 == 0
