"""The faults: how to cause and end each one."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import psycopg
import redis

from tests.apikeys.gateway.servers import call, listens
from tests.faults.installation import RESTART_AFTER, Place
from tests.ratelimits.stores.redis_faults import with_fault
from tests.waiting import wait_until

CLUSTER = Place("two nodes, PostgreSQL and Redis", redis=True, nodes=2)
ALONE = Place("one node and PostgreSQL")
RETIRING = Place(
    "one node whose workers serve 300 requests", arguments=("--max-requests", "300", "--max-requests-jitter", "100")
)
STEPPING = Place("one node, and PostgreSQL whose clock can be moved", clock=True)
SMALL_POSTGRESQL = Place("one node, and PostgreSQL on a small disk", disk=250)
SMALL_SQLITE = Place("one node and SQLite on a small disk", postgresql=False, disk=48)


class Fault(NamedTuple):
    """`cause` is a context manager that takes the installation and causes the fault while it's entered.

    shown: a regular expression that the log must match. short_windows: whether limits with short windows hold too.
    in_ci: whether it's part of the test suite.
    """

    name: str
    place: Place
    cause: Callable
    shown: str = ""
    short_windows: bool = True
    in_ci: bool = False


# Seconds until a fault is ended.
FAULT_SECONDS = 3
MINUTE, HOUR = 60, 3600


# --- Processes ---


@contextmanager
def worker_killed(site):
    """gunicorn starts another one."""
    os.kill(min(site.nodes[0].workers), signal.SIGKILL)
    yield


@contextmanager
def node_killed(site):
    """As systemd does, kill the remaining processes and start it again."""
    site.nodes[0].kill()
    time.sleep(RESTART_AFTER)
    site.nodes[0].start()
    yield


@contextmanager
def master_killed(site):
    """Kill only the master. Its workers notice, stop listening and finish, so killing them would save no time."""
    node = site.nodes[0]
    node.process.kill()
    node.process.wait()
    time.sleep(RESTART_AFTER)
    wait_until(lambda: not listens(node.port))
    node.forget()
    node.start()
    yield


@contextmanager
def node_stopped(site):
    site.nodes[0].stop()
    site.nodes[0].start()
    yield


@contextmanager
def sighup_sent(site):
    site.nodes[0].process.send_signal(signal.SIGHUP)
    wait_for_new_workers(site.nodes[0])
    yield


@contextmanager
def workers_retired(site):
    wait_for_new_workers(site.nodes[0])
    yield


def wait_for_new_workers(node):
    known = node.workers
    wait_until(lambda: not node.workers & known)


# --- PostgreSQL ---


@contextmanager
def postgresql_stopped(site):
    site.postgresql.control("stop", "-m", "fast")
    time.sleep(FAULT_SECONDS)
    site.postgresql.control("start")
    yield


def restarted(mode):
    @contextmanager
    def cause(site):
        site.postgresql.control("restart", "-m", mode)
        yield

    return cause


@contextmanager
def postgresql_hung(site):
    """Stop all its processes, so that it accepts connections but doesn't answer."""
    with paused(site.postgresql.processes()):
        time.sleep(FAULT_SECONDS)
    yield


@contextmanager
def paused(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def connections_taken(site):
    """Other clients take every connection, and Gatehouse's are closed."""
    stop, others = threading.Event(), ExitStack()

    def take():
        while not stop.is_set():
            with suppress(psycopg.OperationalError):
                others.enter_context(psycopg.connect(site.postgresql.url, application_name="other"))
                continue
            time.sleep(0.005)

    with psycopg.connect(site.postgresql.url, autocommit=True) as connection:
        taking = threading.Thread(target=take)
        taking.start()
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> 'other' "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        time.sleep(FAULT_SECONDS)
    stop.set()
    taking.join()
    others.close()
    yield


@contextmanager
def database_read_only(site):
    site.postgresql.query("ALTER SYSTEM SET default_transaction_read_only = on")
    site.postgresql.query("SELECT pg_reload_conf()")
    time.sleep(FAULT_SECONDS)
    # A session that is read-only by default can still change the setting.
    site.postgresql.query("ALTER SYSTEM RESET default_transaction_read_only")
    site.postgresql.query("SELECT pg_reload_conf()")
    yield


@contextmanager
def standby(site):
    """PostgreSQL restarts as a standby, and is promoted later."""
    site.postgresql.control("stop", "-m", "fast")
    (site.postgresql.directory / "data" / "standby.signal").touch()
    site.postgresql.control("start")
    time.sleep(FAULT_SECONDS)
    site.postgresql.query("SELECT pg_promote()")
    yield


def clock_stepped(by):
    """Step the database's clock by this many seconds."""

    @contextmanager
    def cause(site):
        before = seconds_left(site)
        site.postgresql.query("UPDATE stepped.clock SET by = by + %s * interval '1 second'", by)
        assert abs(before - by - seconds_left(site)) < MINUTE
        yield

    return cause


def seconds_left(site):
    """Seconds until the short window resets, as shown to clients."""
    answer = call(site.port, path="/orders", headers={"X-API-Key": site.keys["short"][0]})
    return int(answer.headers["RateLimit"].rpartition("t=")[2])


@contextmanager
def migrated_behind_a_lock(site):
    """An idle transaction holds a lock on the table that a migration changes."""
    with psycopg.connect(site.postgresql.url) as other:
        other.execute("SELECT FROM key_usage LIMIT 1")
        refused = migrate(site)
        assert refused.returncode != 0
        assert "lock timeout" in refused.stderr, refused.stderr
    accepted = migrate(site)
    assert accepted.returncode == 0, accepted.stderr
    yield


def migrate(site):
    return site.python("manage.py", "migrate", "later", DJANGO_SETTINGS_MODULE="tests.faults.later.settings")


# --- Disks ---


@contextmanager
def disk_full(site):
    if site.postgresql:
        # With a new WAL segment, PostgreSQL runs out of space for rows. Without space for WAL, it would shut down.
        site.postgresql.query("SELECT pg_switch_wal()")
        site.postgresql.query("CHECKPOINT")
    with site.full_disk():
        time.sleep(FAULT_SECONDS)
    yield


@contextmanager
def disk_full_of_log(site):
    """PostgreSQL can't write WAL and shuts down. It's started when there is space again."""
    with site.full_disk():
        with suppress(psycopg.OperationalError):
            while True:
                site.postgresql.query("SELECT pg_switch_wal()")
                time.sleep(0.1)
        wait_until(lambda: not site.postgresql.is_running(), every=0.1)
        time.sleep(FAULT_SECONDS)
    site.postgresql.control("start")
    yield


@contextmanager
def sqlite_locked(site):
    with sqlite3.connect(site.disk / "gatehouse.sqlite3", isolation_level=None, timeout=20) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(FAULT_SECONDS)
        other.execute("ROLLBACK")
    yield


# --- Redis ---


@contextmanager
def redis_stopped(site):
    site.redis.stop()
    time.sleep(FAULT_SECONDS)
    site.redis.start()
    yield


@contextmanager
def redis_hung(site):
    with paused([site.redis.process.pid]):
        time.sleep(FAULT_SECONDS)
    yield


def redis_refuses(fault):
    @contextmanager
    def cause(site):
        with with_fault(site.redis.port, fault):
            time.sleep(FAULT_SECONDS)
        yield

    return cause


@contextmanager
def redis_flushed(site):
    with redis.Redis(port=site.redis.port) as client:
        client.flushall()
    yield


STORE_UNAVAILABLE = r"The rate limit store \(redis\) is unavailable: "
FAULTS = [
    Fault("A worker is killed (kill -9)", CLUSTER, worker_killed, r"was sent SIGKILL", in_ci=True),
    Fault("A node is killed and started again after a second", CLUSTER, node_killed, in_ci=True),
    Fault("A node is stopped with SIGTERM and started again", CLUSTER, node_stopped, "Draining for 2 seconds"),
    Fault("A node gets SIGHUP", CLUSTER, sighup_sent, "Hang up: Master"),
    Fault("PostgreSQL is stopped for 3 s", CLUSTER, postgresql_stopped, "could not be answered"),
    Fault("PostgreSQL is restarted (fast)", CLUSTER, restarted("fast"), "could not be answered"),
    Fault("PostgreSQL crashes and recovers (immediate)", CLUSTER, restarted("immediate"), in_ci=True),
    Fault("PostgreSQL has no connection left for 3 s", CLUSTER, connections_taken, "too many clients", in_ci=True),
    Fault("PostgreSQL is read-only for 3 s", CLUSTER, database_read_only, "read-only transaction", in_ci=True),
    Fault("PostgreSQL is a standby for 3 s, then promoted", CLUSTER, standby, "read-only transaction|during recovery"),
    Fault("`migrate` meets a lock on the busiest table", CLUSTER, migrated_behind_a_lock, in_ci=True),
    Fault("Redis is stopped for 3 s", CLUSTER, redis_stopped, STORE_UNAVAILABLE, short_windows=False),
    Fault("Redis hangs for 3 s", CLUSTER, redis_hung, STORE_UNAVAILABLE + ".* ms", short_windows=False, in_ci=True),
    Fault(
        "Redis is full for 3 s (noeviction)",
        CLUSTER,
        redis_refuses("full"),
        STORE_UNAVAILABLE + ".*memory",
        short_windows=False,
    ),
    Fault("Redis is flushed", CLUSTER, redis_flushed, short_windows=False),
    Fault(
        "Redis is a replica for 3 s",
        CLUSTER,
        redis_refuses("a replica"),
        STORE_UNAVAILABLE + ".*replica",
        short_windows=False,
        in_ci=True,
    ),
    Fault("A node, the only one, is killed and started again after a second", ALONE, node_killed),
    Fault("gunicorn's master alone is killed (kill -9)", ALONE, master_killed),
    Fault("PostgreSQL, with all counters, crashes and recovers", ALONE, restarted("immediate"), short_windows=False),
    Fault("PostgreSQL hangs for 3 s", ALONE, postgresql_hung),
    Fault("Workers retire (max-requests)", RETIRING, workers_retired),
    Fault("The clock of the database steps forward by an hour", STEPPING, clock_stepped(HOUR)),
    Fault("The clock of the database steps back by two hours", STEPPING, clock_stepped(-2 * HOUR)),
    Fault("PostgreSQL's disk is full for 3 s", SMALL_POSTGRESQL, disk_full, "No space left"),
    Fault(
        "PostgreSQL ends because its log can't grow, and is started after 3 s",
        SMALL_POSTGRESQL,
        disk_full_of_log,
        short_windows=False,
    ),
    Fault("SQLite's disk is full for 3 s", SMALL_SQLITE, disk_full, "disk is full|disk I/O", in_ci=True),
    Fault("Another process locks SQLite for 3 s", SMALL_SQLITE, sqlite_locked),
]
