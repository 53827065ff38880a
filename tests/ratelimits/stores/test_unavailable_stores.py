"""A store that is down raises StoreUnavailable, and works again when it's back."""

from __future__ import annotations

import sqlite3
import time
from operator import methodcaller

import psycopg
import pytest
import redis

from ratelimits.budgets import Budget
from ratelimits.stores import StoreUnavailable
from ratelimits.stores import postgresql as postgresql_module
from ratelimits.stores.postgresql import PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.sqlite import LockWait, SQLiteStore
from tests.ratelimits.conftest import ON_POSTGRESQL
from tests.ratelimits.processes import PATIENCE
from tests.services import redis_url

BUDGET = [Budget("user:1/rule:1", 5, 60)]
OPERATIONS = {
    "hit": methodcaller("hit", BUDGET),
    "peek": methodcaller("peek", BUDGET),
    "reset": methodcaller("reset", ["user:1/rule:1"]),
    "sweep": methodcaller("sweep"),
    "count": methodcaller("count"),
    "clear": methodcaller("clear"),
    "ping": methodcaller("ping"),
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
pytestmark = pytest.mark.postgresql
on_postgresql = pytest.mark.skipif(not ON_POSTGRESQL, reason="counters in PostgreSQL")


def remaining(store):
    reading = store.peek(BUDGET)
    return 5 - (0 if reading.counters[0] is None else round((reading.counters[0].at - reading.now) / 12_000_000))


@each_operation
def test_available_store_supports_every_operation(store, operation):
    store.hit(BUDGET)
    operation(store)


def test_closed_store_reopens_with_its_counters(store):
    store.hit(BUDGET)
    store.close()
    store.close()
    assert remaining(store) == 4
    store.ping()


@each_operation
def test_unreachable_redis_is_unavailable(operation):
    store = RedisStore("redis://127.0.0.1:1/0")
    if operation is OPERATIONS["sweep"]:
        assert operation(store) == 0  # Redis expires counters itself, so no command is sent
        return
    with pytest.raises(StoreUnavailable, match="Redis"):
        operation(store)


@each_operation
def test_sqlite_file_that_cannot_be_opened_is_unavailable(tmp_path, operation):
    folder = tmp_path / "counters.sqlite3"
    folder.mkdir()
    with pytest.raises(StoreUnavailable, match=r"counters\.sqlite3"):
        operation(SQLiteStore(folder))


def test_file_that_is_not_a_database_is_unavailable_and_kept(tmp_path):
    path = tmp_path / "counters.sqlite3"
    path.write_text("Not a SQLite database. " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        SQLiteStore(path).hit(BUDGET)
    assert path.read_text().startswith("Not a SQLite database.")


@on_postgresql
@pytest.mark.django_db
@each_operation
def test_unreachable_postgresql_is_unavailable(monkeypatch, operation):
    def refuse(timeout):
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(postgresql_module, "connect", refuse)
    with pytest.raises(StoreUnavailable, match="connection refused"):
        operation(PostgreSQLStore())


@on_postgresql
@pytest.mark.django_db
def test_long_operation_times_out_and_keeps_the_timeout_of_hits(make_store, monkeypatch):
    store = make_store("postgresql")
    monkeypatch.setattr(postgresql_module, "MAX_WAIT", 0.05)
    with pytest.raises(StoreUnavailable, match="timeout"):
        store._run_long("SELECT pg_sleep(1)")
    assert store._connection()[0].timeout == PATIENCE


@on_postgresql
@pytest.mark.django_db
def test_connection_terminated_by_the_server_is_replaced(make_store):
    store = make_store("postgresql")
    store.hit(BUDGET)
    with postgresql_module.connect(PATIENCE) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [store._connection()[0].info.backend_pid])
    store.hit(BUDGET)
    assert remaining(store) == 3


@on_postgresql
@pytest.mark.django_db
def test_late_response_of_a_hanging_server_is_discarded(make_store):
    store = make_store("postgresql")
    store.hit(BUDGET)
    hung = PostgreSQLStore(timeout=PATIENCE)
    hung._connection()[0].timeout = 0.01
    with pytest.raises(StoreUnavailable, match="PostgreSQL didn't answer within 5000 ms"):
        hung._run("SELECT pg_sleep(0.1)")
    assert hung.peek(BUDGET).counters[0] is not None
    hung.close()
    assert remaining(store) == 4


@on_postgresql
@pytest.mark.django_db
def test_locked_counter_is_waited_for_beyond_the_statement_timeout(make_store, monkeypatch):
    store = make_store("postgresql")
    store.hit(BUDGET)
    monkeypatch.setattr(postgresql_module, "MAX_WAIT", 0.3)
    short_timeout = PostgreSQLStore(timeout=0.05)
    short_timeout._connection()[0].timeout = PATIENCE  # the server keeps its own, shorter timeout
    with postgresql_module.connect(PATIENCE) as other, other.transaction():
        other.execute("SELECT FROM rate_counters FOR UPDATE")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            short_timeout._run("UPDATE rate_counters SET used = used RETURNING 1")
        assert time.monotonic() - began >= 0.3
    short_timeout.hit(BUDGET)
    short_timeout.close()
    assert remaining(store) == 3


@pytest.mark.redis
def test_script_flushed_from_redis_is_sent_again(make_store):
    store = make_store("redis")
    store.hit(BUDGET)
    with redis.Redis.from_url(redis_url()) as client:
        client.script_flush()
    store.hit(BUDGET)
    assert remaining(store) == 3


@pytest.mark.redis
def test_count_and_clear_scan_all_of_redis(make_store):
    store = make_store("redis")
    for number in range(2500):
        store.hit([Budget(f"user:{number}/rule:1", 5, 60)])
    assert store.count() == 2500
    store.clear()
    assert store.count() == 0


@pytest.mark.redis
def test_clear_keeps_keys_of_other_applications(make_store):
    store = make_store("redis")
    store.hit(BUDGET)
    with redis.Redis.from_url(redis_url()) as client:
        client.set("another:application", "1", ex=60)
        store.clear()
        assert client.get("another:application") == b"1"
        client.delete("another:application")


class Unreadable:
    """A connection to a file that is being created, so that even its version can't be read."""

    def execute(self, statement):
        raise sqlite3.OperationalError("database is locked")


def test_file_being_created_is_waited_for():
    wait = LockWait(Unreadable(), timeout=60)
    assert all(wait.is_worthwhile() for _ in range(16))


def test_unchanged_file_is_not_waited_for():
    wait = LockWait(Unreadable(), timeout=0)
    assert not all(wait.is_worthwhile() for _ in range(100))
