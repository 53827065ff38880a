from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from config.base import checkpoints
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.001)


@pytest.fixture
def database(tmp_path):
    """A file whose writes stay in its log."""
    path = tmp_path / "some %file?.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(checkpoints.RARE_CHECKPOINTS)
        connection.execute("CREATE TABLE notes (text)")
        yield connection, path


def without_log(path: Path) -> list[str]:
    """The rows in the file itself."""
    copy = path.with_name("copy.sqlite3")
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        try:
            return [text for (text,) in connection.execute("SELECT text FROM notes")]
        except sqlite3.OperationalError:  # not even the table
            return []


def test_thread_copies_the_log_into_the_file(database):
    connection, path = database
    connection.execute("INSERT INTO notes VALUES ('first')")
    assert without_log(path) == []
    checkpoints.checkpoint_soon(str(path))
    wait_until(lambda: without_log(path) == ["first"])
    connection.execute("INSERT INTO notes VALUES ('second')")
    checkpoints.checkpoint_soon(str(path))
    wait_until(lambda: without_log(path) == ["first", "second"])


def test_many_writes_share_a_checkpoint():
    thread = checkpoints.Checkpoints()
    for _ in range(3):
        thread.add("one")
    thread.add("two")
    assert thread._queue.qsize() == 2


@pytest.fixture
def restarts(monkeypatch):
    """The statements of checkpoints that start a log again."""
    statements = []
    connect = sqlite3.connect

    def traced(*args, **kwargs):
        made = connect(*args, **kwargs)
        made.set_trace_callback(lambda text: statements.append(text) if "RESTART" in text else None)
        return made

    monkeypatch.setattr(checkpoints.sqlite3, "connect", traced)
    return statements


@pytest.mark.parametrize(("longest", "times"), [(0, 1), (1_000, 0)])
def test_long_log_starts_again(database, monkeypatch, restarts, longest, times):
    connection, path = database
    monkeypatch.setattr(checkpoints, "LONGEST_LOG", longest)
    connection.execute("INSERT INTO notes VALUES ('first')")
    checkpoints.checkpoint(str(path))
    assert len(restarts) == times


def test_writers_do_not_wait_for_readers_of_a_long_log(database, monkeypatch, restarts):
    connection, path = database
    monkeypatch.setattr(checkpoints, "LONGEST_LOG", 0)
    connection.execute("INSERT INTO notes VALUES ('first')")
    connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM notes").fetchall()
        checkpoints.checkpoint(str(path))
        connection.execute("INSERT INTO notes VALUES ('second')")
    assert len(restarts) == checkpoints.ATTEMPTS


def test_deleted_file_is_not_created_again(tmp_path, caplog, database):
    gone = tmp_path / "gone.sqlite3"
    with caplog.at_level(logging.WARNING, logger=checkpoints.__name__):
        checkpoints.checkpoint_soon(str(gone))
        wait_until(lambda: "gone.sqlite3" in caplog.text)
    assert not gone.exists()
    connection, path = database
    connection.execute("INSERT INTO notes VALUES ('later')")
    checkpoints.checkpoint_soon(str(path))
    wait_until(lambda: without_log(path) == ["later"])


def test_forked_process_gets_its_own_thread():
    ours = checkpoints.thread_of(os.getpid())
    assert checkpoints.thread_of(os.getpid()) is ours
    forked = checkpoints.thread_of(-1)
    assert forked is not ours
    assert forked.is_alive()
