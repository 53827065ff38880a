"""A store that responds but can't count is one outage, until it can count again."""

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
from tests.ratelimits.hammering import PATIENCE
from tests.ratelimits.stores.refusing import TROUBLES, busy, in_trouble, redis_server
from tests.waiting import wait_until

pytestmark = pytest.mark.postgresql
REQUESTS = 600
on_postgresql = pytest.mark.skipif(not ON_POSTGRESQL, reason="about counters in the project's PostgreSQL")
quick_probes = pytest.mark.usefixtures("_quick_probes")


@pytest.fixture
def _quick_probes(monkeypatch):
    """As many probes in this test as normally in minutes; any of them could wrongly end the outage."""
    monkeypatch.setattr(breaker, "PROBE_INTERVAL", 0.002)


def budget(number):
    return [Budget(f"user:{number}/rule:1", 5, 60)]


def outages(caplog):
    return [record for record in caplog.records if "is unavailable" in record.getMessage()]


def ask_often(counting):
    """Make many requests while the store can't count; returns the median time in milliseconds."""
    times = []
    for number in range(REQUESTS):
        began = time.perf_counter()
        assert counting.hit(budget(number)).degraded
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(0.0005)
    return statistics.median(times)


def is_one_outage(counting, trouble, caplog):
    assert not counting.hit(budget(1)).degraded
    with trouble:
        assert ask_often(counting) < 50  # asking the store would take PATIENCE
        assert counting.breaker.is_open
        assert len(outages(caplog)) == 1
    wait_until(lambda: not counting.breaker.is_open)
    assert not counting.hit(budget(2)).degraded
    assert len(outages(caplog)) == 1


# --- Redis ---


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.port


@pytest.fixture
def store(own_redis):
    made = RedisStore(f"redis://127.0.0.1:{own_redis}/0", timeout=PATIENCE)
    yield made
    made.close()


@quick_probes
@pytest.mark.redis
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_redis_that_refuses_to_count_is_one_outage(own_redis, store, use_store, caplog, trouble):
    is_one_outage(use_store(store), in_trouble(own_redis, trouble), caplog)


@quick_probes
@pytest.mark.redis
def test_a_redis_that_is_busy_with_a_script_is_one_outage(own_redis, store, use_store, caplog):
    is_one_outage(use_store(store), busy(own_redis), caplog)


@pytest.mark.redis
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_redis_that_refuses_to_count_fails_a_ping(own_redis, store, trouble):
    store.ping()
    with in_trouble(own_redis, trouble):
        with redis.Redis(port=own_redis) as client:
            assert client.ping()
        with pytest.raises(StoreUnavailable):
            store.ping()
    store.ping()


@pytest.mark.redis
def test_a_password_that_redis_asks_for_since_a_while_fails_a_ping(own_redis, store):
    with redis.Redis(port=own_redis) as client:
        client.config_set("requirepass", "s3cret")
        try:
            with pytest.raises(StoreUnavailable):
                store.ping()
        finally:
            client.config_set("requirepass", "")
    store.ping()


@pytest.mark.redis
def test_a_cluster_without_its_slots_fails_a_ping(tmp_path):
    with redis_server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        store = RedisStore(f"redis://127.0.0.1:{server.port}/0", timeout=PATIENCE)
        with pytest.raises(StoreUnavailable, match=r"(?i)cluster|slot"):
            store.ping()
        store.close()


@pytest.mark.redis
def test_a_connection_to_a_redis_that_became_a_replica_is_replaced(own_redis, store, tmp_path):
    """As after a failover: the name now resolves to another server, and only new connections reach it."""
    store.ping()
    with redis_server(tmp_path) as server:
        another = server.port
        store._url = f"redis://127.0.0.1:{another}/0"
        store._local.connection.port = another  # what the name resolves to from now on
        with in_trouble(own_redis, "a replica"):
            assert store.hit(budget(1)).allowed


# --- A SQLite file ---


@pytest.fixture
def in_file(tmp_path):
    store = SQLiteStore(tmp_path / "counters.sqlite3", timeout=PATIENCE)
    yield store
    store.close()


@contextmanager
def read_only_file(store):
    """From now on, the file can only be opened for reading."""
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
    """The file's log can't grow any more. (A full disk gives another error in the same place.)"""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{store.path}-wal").stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@quick_probes
@pytest.mark.parametrize("trouble", [read_only_file, full_disk])
def test_a_file_that_refuses_to_count_is_one_outage(in_file, use_store, caplog, monkeypatch, trouble):
    # A checkpoint would make room in the log.
    monkeypatch.setattr(sqlite_module, "checkpoint_soon", lambda path: None)
    is_one_outage(use_store(in_file), trouble(in_file), caplog)


def test_a_counters_file_whose_table_is_gone_gets_it_back(tmp_path):
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


class PostgreSQLTrouble:
    """Statements to start and to end it, on a dedicated connection."""

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
    return PostgreSQLTrouble(
        f"ALTER DATABASE {database} SET default_transaction_read_only = on",
        f"ALTER DATABASE {database} RESET default_transaction_read_only",
    )


MISSING_PROCEDURE = PostgreSQLTrouble(
    "ALTER PROCEDURE rate_limit_charge RENAME TO mislaid", "ALTER PROCEDURE mislaid RENAME TO rate_limit_charge"
)
MISSING_TABLE = PostgreSQLTrouble(
    "ALTER TABLE rate_quotas RENAME TO mislaid", "ALTER TABLE mislaid RENAME TO rate_quotas"
)


@pytest.fixture
def in_postgresql(transactional_db):
    store = PostgreSQLStore(timeout=PATIENCE)
    yield store
    store.close()


@on_postgresql
@quick_probes
@pytest.mark.parametrize("trouble", [MISSING_PROCEDURE, MISSING_TABLE], ids=["without its function", "without a table"])
def test_a_postgresql_that_cannot_count_is_one_outage(in_postgresql, use_store, caplog, trouble):
    is_one_outage(use_store(in_postgresql), trouble, caplog)


@on_postgresql
@quick_probes
def test_a_postgresql_that_is_read_only_is_one_outage(in_postgresql, use_store, caplog, settings):
    in_postgresql.ping()
    trouble = read_only(settings.DATABASES["default"]["NAME"])
    counting = use_store(in_postgresql)
    in_postgresql.close()  # existing sessions don't change
    with trouble:
        ask_often(counting)
        assert len(outages(caplog)) == 1
    wait_until(lambda: not counting.breaker.is_open)
    assert not counting.hit(budget(2)).degraded


@on_postgresql
def test_a_session_that_stayed_read_only_is_replaced(in_postgresql):
    in_postgresql.ping()
    in_postgresql._connection()[0].execute("SET default_transaction_read_only = on")
    assert in_postgresql.hit(budget(1)).allowed


@on_postgresql
def test_a_table_of_quotas_that_is_locked_fails_a_ping(in_postgresql):
    impatient = PostgreSQLStore()
    impatient.hit(budget(1))
    with postgresql_module.connect(PATIENCE) as other, other.transaction():
        other.execute("LOCK TABLE rate_quotas IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable):
            impatient.ping()
    impatient.ping()
    impatient.close()
