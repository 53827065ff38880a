"""A store that responds but can't count is one outage until it can count again."""

from __future__ import annotations

import resource
import sqlite3
import statistics
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from ratelimits.budgets import Budget
from ratelimits.stores import StoreUnavailable, breaker
from ratelimits.stores import postgresql as postgresql_module
from ratelimits.stores import sqlite as sqlite_module
from ratelimits.stores.postgresql import PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.sqlite import SQLiteStore
from tests.apikeys.gateway.servers import free_port
from tests.ratelimits.conftest import ON_POSTGRESQL
from tests.ratelimits.processes import PATIENCE
from tests.ratelimits.stores.redis_faults import FAULTS, busy, redis_server, with_fault
from tests.waiting import wait_until

pytestmark = pytest.mark.postgresql
REQUESTS = 600
on_postgresql = pytest.mark.skipif(not ON_POSTGRESQL, reason="counters in PostgreSQL")
quick_probes = pytest.mark.usefixtures("_quick_probes")


@pytest.fixture
def _quick_probes(monkeypatch):
    """Probe as often as in several minutes, because any probe could wrongly end the outage."""
    monkeypatch.setattr(breaker, "PROBE_INTERVAL", 0.002)


def budget(number):
    return [Budget(f"user:{number}/rule:1", 5, 60)]


def outages(caplog):
    return [record for record in caplog.records if "is unavailable" in record.getMessage()]


def ask_often(limiter):
    """Make many requests while the store can't count. Returns the median time in milliseconds."""
    times = []
    for number in range(REQUESTS):
        began = time.perf_counter()
        assert limiter.hit(budget(number)).degraded
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(0.0005)
    return statistics.median(times)


def assert_one_outage(limiter, fault, caplog):
    assert not limiter.hit(budget(1)).degraded
    with fault:
        assert ask_often(limiter) < 50  # waiting for the store would take PATIENCE
        assert limiter.breaker.is_open
        assert len(outages(caplog)) == 1
    wait_until(lambda: not limiter.breaker.is_open)
    assert not limiter.hit(budget(2)).degraded
    assert len(outages(caplog)) == 1


# --- Redis ---


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.port


@pytest.fixture
def store(own_redis):
    store = RedisStore(f"redis://127.0.0.1:{own_redis}/0", timeout=PATIENCE)
    yield store
    store.close()


@quick_probes
@pytest.mark.redis
@pytest.mark.parametrize("fault", FAULTS)
def test_redis_that_cannot_count_is_one_outage(own_redis, store, use_store, caplog, fault):
    assert_one_outage(use_store(store), with_fault(own_redis, fault), caplog)


@quick_probes
@pytest.mark.redis
def test_busy_redis_is_one_outage(own_redis, store, use_store, caplog):
    assert_one_outage(use_store(store), busy(own_redis), caplog)


@pytest.mark.redis
@pytest.mark.parametrize("fault", FAULTS)
def test_redis_that_cannot_count_fails_a_ping(own_redis, store, fault):
    store.ping()
    with with_fault(own_redis, fault):
        with redis.Redis(port=own_redis) as client:
            assert client.ping()
        with pytest.raises(StoreUnavailable):
            store.ping()
    store.ping()


@pytest.mark.redis
def test_new_redis_password_fails_a_ping(own_redis, store):
    with redis.Redis(port=own_redis) as client:
        client.config_set("requirepass", "s3cret")
        try:
            with pytest.raises(StoreUnavailable):
                store.ping()
        finally:
            client.config_set("requirepass", "")
    store.ping()


@pytest.mark.redis
def test_redis_cluster_without_slots_fails_a_ping(tmp_path):
    with redis_server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        store = RedisStore(f"redis://127.0.0.1:{server.port}/0", timeout=PATIENCE)
        with pytest.raises(StoreUnavailable, match=r"(?i)cluster|slot"):
            store.ping()
        store.close()


@pytest.mark.redis
def test_connection_to_a_new_replica_is_replaced(own_redis, store, tmp_path):
    """After a failover, the name resolves to another server, which only new connections reach."""
    store.ping()
    with redis_server(tmp_path) as server:
        another = server.port
        store._url = f"redis://127.0.0.1:{another}/0"
        store._local.connection.port = another  # what the name resolves to now
        with with_fault(own_redis, "a replica"):
            assert store.hit(budget(1)).allowed


# --- A SQLite file ---


@pytest.fixture
def in_file(tmp_path):
    store = SQLiteStore(tmp_path / "counters.sqlite3", timeout=PATIENCE)
    yield store
    store.close()


@contextmanager
def read_only_file(store):
    """The file can only be opened for reading until the block ends."""
    connect = sqlite_module.connect

    def connect_for_reading(path, timeout):
        connection = connect(path, timeout)
        connection.execute("PRAGMA query_only = 1")
        return connection

    store.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_module, "connect", connect_for_reading)
        yield


@contextmanager
def full_disk(store):
    """The file's log can't grow. (A full disk gives another error at the same point.)"""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{store.path}-wal").stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@quick_probes
@pytest.mark.parametrize("fault", [read_only_file, full_disk])
def test_sqlite_file_that_cannot_count_is_one_outage(in_file, use_store, caplog, monkeypatch, fault):
    # A checkpoint would make room in the log.
    monkeypatch.setattr(sqlite_module, "checkpoint_soon", lambda path: None)
    assert_one_outage(use_store(in_file), fault(in_file), caplog)


def test_missing_sqlite_table_is_recreated(tmp_path):
    store = SQLiteStore(tmp_path / "counters.sqlite3", timeout=PATIENCE)
    store.ping()
    with sqlite3.connect(store.path, isolation_level=None) as other:
        other.execute("DROP TABLE counters")
    other.close()
    with pytest.raises(StoreUnavailable, match="no such table"):
        store.ping()
    store.ping()
    store.close()


# --- PostgreSQL ---


class PostgreSQLFault:
    """Statements that cause a fault and end it, run on a separate connection."""

    def __init__(self, begin, end):
        self.begin, self.end = begin, end

    def __enter__(self):
        self.run(self.begin)

    def __exit__(self, *exception):
        self.run(self.end)

    def run(self, statement):
        with postgresql_module.connect(PATIENCE) as other:
            other.execute("SET default_transaction_read_only = off")
            other.execute(statement)


def read_only(database):
    return PostgreSQLFault(
        f"ALTER DATABASE {database} SET default_transaction_read_only = on",
        f"ALTER DATABASE {database} RESET default_transaction_read_only",
    )


MISSING_PROCEDURE = PostgreSQLFault(
    "ALTER PROCEDURE rate_limit_charge RENAME TO renamed", "ALTER PROCEDURE renamed RENAME TO rate_limit_charge"
)
MISSING_TABLE = PostgreSQLFault(
    "ALTER TABLE rate_quotas RENAME TO renamed", "ALTER TABLE renamed RENAME TO rate_quotas"
)


@pytest.fixture
def in_postgresql(transactional_db):
    store = PostgreSQLStore(timeout=PATIENCE)
    yield store
    store.close()


@on_postgresql
@quick_probes
@pytest.mark.parametrize("fault", [MISSING_PROCEDURE, MISSING_TABLE], ids=["missing procedure", "missing table"])
def test_postgresql_that_cannot_count_is_one_outage(in_postgresql, use_store, caplog, fault):
    assert_one_outage(use_store(in_postgresql), fault, caplog)


@on_postgresql
@quick_probes
def test_read_only_postgresql_is_one_outage(in_postgresql, use_store, caplog, settings):
    in_postgresql.ping()
    fault = read_only(settings.DATABASES["default"]["NAME"])
    limiter = use_store(in_postgresql)
    in_postgresql.close()  # existing sessions don't change
    with fault:
        ask_often(limiter)
        assert len(outages(caplog)) == 1
    wait_until(lambda: not limiter.breaker.is_open)
    assert not limiter.hit(budget(2)).degraded


@on_postgresql
def test_read_only_session_is_replaced(in_postgresql):
    in_postgresql.ping()
    in_postgresql._connection()[0].execute("SET default_transaction_read_only = on")
    assert in_postgresql.hit(budget(1)).allowed


@on_postgresql
def test_locked_quota_table_fails_a_ping(in_postgresql):
    short_timeout = PostgreSQLStore()
    short_timeout.hit(budget(1))
    with postgresql_module.connect(PATIENCE) as other, other.transaction():
        other.execute("LOCK TABLE rate_quotas IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable):
            short_timeout.ping()
    short_timeout.ping()
    short_timeout.close()
