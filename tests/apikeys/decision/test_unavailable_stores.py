"""Counters in Redis, unavailable counters, and a locked database."""

from __future__ import annotations

import sqlite3
import threading
import time

import psycopg
import pytest
import redis
from django.db import OperationalError, connection

from apikeys.decision import ledger, statements
from apikeys.models import KeyUsage
from ratelimits.limiter import forget_limiter, limiter
from ratelimits.models import RateLimit
from ratelimits.stores import StoreUnavailable
from tests.apikeys.conftest import make_key
from tests.services import redis_url
from tests.waiting import wait_until

pytestmark = pytest.mark.postgresql

on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's single writer")


@pytest.fixture
def redis_at(settings, counters):
    def use(url):
        settings.REDIS_URL, settings.RATE_LIMIT_STORE = url, "redis"
        forget_limiter()

    yield use
    forget_limiter()


@pytest.mark.redis
def test_counters_are_in_redis_and_rows_in_the_database(ask, alice, redis_at):
    redis_at(redis_url())
    limiter().store.clear()
    key = make_key(alice, rate_limit=2, rate_period=60)
    statuses = [ask(key.secret).headers.get("X-Auth-Status", "200") for _ in range(3)]
    assert statuses == ["200", "200", "429"]
    assert list(KeyUsage.objects.order_by("pk").values_list("status_code", flat=True)) == [200, 200, 429]
    limiter().store.clear()


@pytest.mark.redis
def test_monthly_limit_survives_a_redis_flush(ask, alice, free, redis_at):
    redis_at(redis_url())
    limiter().store.clear()
    RateLimit.objects.create(tier=free, name="monthly", path="/orders", limit=3, window="month")
    RateLimit.objects.create(tier=free, name="minute", path="/orders", limit=2, period=60)
    key, statuses = make_key(alice), []
    for _ in range(2):
        statuses += [ask(key.secret).headers.get("X-Auth-Status", "200") for _ in range(3)]
        with redis.Redis.from_url(redis_url()) as client:
            client.flushdb()
    assert statuses == ["200", "200", "429", "200", "429", "429"]
    assert '"monthly";r=0;' in ask(key.secret).headers["RateLimit"]
    limiter().store.clear()


@pytest.mark.parametrize(("fail_open", "status", "reason"), [(True, 200, ""), (False, 429, "rate_limited")])
def test_fail_open_setting_decides_without_counters(ask, alice, redis_at, settings, fail_open, status, reason):
    settings.RATE_LIMIT_FAIL_OPEN = fail_open
    redis_at("redis://127.0.0.1:1/0")
    response = ask(make_key(alice).secret)
    assert int(response.headers.get("X-Auth-Status", 200)) == status
    assert "RateLimit" not in response.headers
    assert response.headers.get("Retry-After") == (None if fail_open else "1")
    assert KeyUsage.objects.values_list("status_code", "reason").get() == (status, reason)


def test_quota_that_cannot_be_counted_gives_503(ask, alice, free, monkeypatch, counters):
    def unavailable(*arguments, **options):
        raise StoreUnavailable("unavailable")

    RateLimit.objects.create(tier=free, name="monthly", path="/orders", limit=1, window="month")
    key = make_key(alice)
    with monkeypatch.context() as patches:
        patches.setattr(limiter().store, "hit_many", unavailable)
        patches.setattr(limiter().store, "hit_with", lambda *arguments: None, raising=False)
        assert [ask(key.secret).status_code for _ in range(2)] == [503, 503]
        # Short windows fail open.
        assert ask(key.secret, uri="/elsewhere").status_code == 200
    assert [ask(key.secret).headers.get("X-Auth-Status", "200") for _ in range(2)] == ["200", "429"]


class SQLiteLock:
    """Holds SQLite's write lock until the block ends, or for `seconds`."""

    def __init__(self, seconds=None):
        self.seconds, self.taken, self.released = seconds, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.hold)

    def hold(self):
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        self.stay()
        other.execute("ROLLBACK")
        other.close()

    def stay(self):
        self.taken.set()
        self.released.wait(self.seconds)
        self.released.set()

    def __enter__(self):
        self.thread.start()
        self.taken.wait()
        return self

    def __exit__(self, *exception):
        self.released.set()
        self.thread.join()


@on_sqlite
@pytest.mark.django_db(transaction=True)
def test_row_waits_for_the_lock(ask, key):
    with SQLiteLock(0.3) as lock:
        assert ask(key.secret).status_code == 200
        assert lock.released.is_set()
    assert KeyUsage.objects.count() == 1


@on_sqlite
@pytest.mark.django_db(transaction=True)
def test_lock_that_is_not_released_gives_503(ask, key, monkeypatch):
    monkeypatch.setattr(statements, "LONGEST_WAIT", 0)
    with SQLiteLock():
        assert ask(key.secret).status_code == 503
    assert not KeyUsage.objects.exists()
    assert ask(key.secret).status_code == 200


on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="counters in PostgreSQL")


class PostgreSQLLock(SQLiteLock):
    """Holds the locks that a statement takes."""

    def __init__(self, statement, seconds=None):
        super().__init__(seconds)
        self.statement = statement

    def hold(self):
        parameters = connection.get_connection_params()
        for django_only in ("context", "cursor_factory", "prepare_threshold"):
            parameters.pop(django_only)
        with psycopg.connect(**parameters) as other:
            other.execute(self.statement)
            self.stay()
            other.rollback()


@pytest.fixture
def short_store_timeout(settings, counters):
    settings.RATE_LIMIT_STORE_TIMEOUT = 40
    forget_limiter()


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_locked_counters_delay_only_the_first_request(ask, key, short_store_timeout):
    assert "RateLimit" in ask(key.secret).headers
    with PostgreSQLLock("LOCK TABLE rate_counters IN ACCESS EXCLUSIVE MODE"):
        for _ in range(5):
            response = ask(key.secret)
            assert response.status_code == 200
            assert "RateLimit" not in response.headers
            assert limiter().breaker.is_open
        # 20 ms on an idle machine; the limit on its waits is 40.
        wait_until(lambda: seconds_of(lambda: ask(key.secret)) < 0.5)
    assert set(KeyUsage.objects.values_list("status_code", flat=True)) == {200}


def seconds_of(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_locked_counter_is_waited_for_and_charged(ask, key, short_store_timeout, settings):
    settings.DEFAULT_RATE_LIMIT_PERIOD = 3600  # nothing is restored during the wait
    ask(key.secret)
    before = int(ask(key.secret).headers["X-RateLimit-Remaining"])
    # Longer than the limiter waits on its own connection. After that, it would allow every request without counting it.
    with PostgreSQLLock("SELECT FROM rate_counters FOR UPDATE", 2.5) as lock:
        response = ask(key.secret)
        assert lock.released.is_set()
    assert int(response.headers["X-RateLimit-Remaining"]) == before - 1
    assert not limiter().breaker.is_open
    assert KeyUsage.objects.count() == 3


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_other_database_error_gives_503_and_is_logged(ask, key, monkeypatch, caplog):
    def fail(sql, parameters):
        raise OperationalError("could not extend file: No space left on device")

    monkeypatch.setattr(ledger, "run", fail)
    response = ask(key.secret)
    assert response.status_code == 503
    assert "No space left" not in response.content.decode()
    assert "No space left" in caplog.text
    assert response.json()["id"] in caplog.text
    assert not limiter().breaker.is_open


def test_lookup_in_a_transaction_is_not_retried(ask, key):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE key_permissions RENAME TO elsewhere")
    assert ask(key.secret).status_code == 503
