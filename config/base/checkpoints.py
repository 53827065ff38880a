"""Copy SQLite's write-ahead logs into their database files in a separate thread, so that no request waits for the disk.

Otherwise, SQLite does it in the transaction that fills the log, which then takes 20 ms instead of one or two.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from functools import lru_cache
from queue import SimpleQueue
from urllib.parse import quote

logger = logging.getLogger(__name__)

# For connections whose writes end with `checkpoint_soon`: if the thread can't keep up, SQLite does it itself.
RARE_CHECKPOINTS = "PRAGMA wal_autocheckpoint = 128000"
# Seconds in which writes share a checkpoint.
INTERVAL = 0.25
# Without a pause between writes, the log only grows. At this many pages, it's started again as soon as nobody reads it.
LONGEST_LOG = 8_000
# Seconds between attempts. SQLite could wait by itself, but would keep all writers out until the last reader ends.
ATTEMPTS, PAUSE = 5, 0.002


class Checkpoints(threading.Thread):
    """One thread for all files of a process."""

    def __init__(self) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._waiting: set[str] = set()

    def add(self, path: str) -> None:
        if path not in self._waiting:
            self._waiting.add(path)
            self._queue.put(path)

    def run(self) -> None:
        while True:
            path = self._queue.get()
            time.sleep(INTERVAL)
            self._waiting.discard(path)
            try:
                checkpoint(path)
            except sqlite3.Error as error:
                # If this persists, the next write fails, too, and its client gets an error.
                logger.warning("The write-ahead log of %s could not be copied into its file: %s", path, error)


def checkpoint_soon(path: str) -> None:
    """Call after writing to the SQLite file at `path`."""
    thread_of(os.getpid()).add(path)


@lru_cache(maxsize=1)
def thread_of(process: int) -> Checkpoints:
    """A forked process has none of its parent's threads, so it starts its own."""
    thread = Checkpoints()
    thread.start()
    return thread


def checkpoint(path: str) -> None:
    """Copy what the log contains by now, and start it again if it has become too long. Nobody waits for readers."""
    # With mode=rw, a file that was deleted isn't created again.
    connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=0, isolation_level=None)
    try:
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        for _ in range(ATTEMPTS if pages > LONGEST_LOG else 0):
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if not is_busy:
                break
            time.sleep(PAUSE)
    finally:
        connection.close()
