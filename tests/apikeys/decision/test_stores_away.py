"""Counters in Redis, counters that are down, and a database that is locked for a while."""

from __future__ import annotations

import sqlite3
import threading
import time

import psycopg
import pytest
import redis
from django.db import OperationalError, connection

from apikeys.decision import ledger, statements
from apikeys.decision.checks import Facts, Inquiry
from apikeys.decision.credentials import MISSING
from apikeys.decision.decide import Verdict
from apikeys.gateway.answers import identity_headers
from apikeys.models import KeyUsage
from ratelimits.limiter import forget_limiter, limiter
from ratelimits.models import RateLimit
from ratelimits.stores import StoreUnavailable
from tests.apikeys.conftest import make_key
from tests.services import redis_url
from tests.waiting import wait_until

pytestmark = pytest.mark.postgresql

on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's one writer at a time")


@pytest.fixture
def redis_at(settings, counters):
    def use(url):
        settings.REDIS_URL, settings.RATE_LIMIT_STORE = url, "redis"
        forget_limiter()

    yield use
    forget_limiter()


@pytest.mark.redis
def test_counters_in_redis_and_rows_in_the_database(ask, alice, redis_at):
    redis_at(redis_url())
    limiter().store.clear()
    key = make_key(alice, rate_limit=2, rate_period=60)
    statuses = [ask(key.secret).headers.get("X-Auth-Status", "200") for _ in range(3)]
    assert statuses == ["200", "200", "429"]
    assert list(KeyUsage.objects.order_by("pk").values_list("status_code", flat=True)) == [200, 200, 429]
    limiter().store.clear()


@pytest.mark.redis
def test_a_month_stands_when_redis_is_flushed(ask, alice, free, redis_at):
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
def test_without_its_counters_the_gate_stands_as_configured(ask, alice, redis_at, settings, fail_open, status, reason):
    settings.RATE_LIMIT_FAIL_OPEN = fail_open
    redis_at("redis://127.0.0.1:1/0")
    response = ask(make_key(alice).secret)
    assert int(response.headers.get("X-Auth-Status", 200)) == status
    assert "RateLimit" not in response.headers
    assert response.headers.get("Retry-After") == (None if fail_open else "1")
    assert KeyUsage.objects.values_list("status_code", "reason").get() == (status, reason)


def test_a_quota_that_cannot_be_counted_is_503_although_its_row_could_be_written(
    ask, alice, free, monkeypatch, counters
):
    def away(*arguments, **options):
        raise StoreUnavailable("away")

    RateLimit.objects.create(tier=free, name="monthly", path="/orders", limit=1, window="month")
    key = make_key(alice)
    with monkeypatch.context() as patches:
        patches.setattr(limiter().store, "hit_many", away)
        patches.setattr(limiter().store, "hit_with", lambda *arguments: None, raising=False)
        assert [ask(key.secret).status_code for _ in range(2)] == [503, 503]
        # Short windows fail open.
        assert ask(key.secret, uri="/elsewhere").status_code == 200
    assert [ask(key.secret).headers.get("X-Auth-Status", "200") for _ in range(2)] == ["200", "429"]


class Held:
    """Holds the database's write lock until the block ends, or for `seconds`."""

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
def test_a_row_waits_for_the_lock(ask, key):
    with Held(0.3) as lock:
        assert ask(key.secret).status_code == 200
        assert lock.released.is_set()
    assert KeyUsage.objects.count() == 1


@on_sqlite
@pytest.mark.django_db(transaction=True)
def test_a_lock_that_is_not_given_back_is_503_not_a_yes(ask, key, monkeypatch):
    monkeypatch.setattr(statements, "LONGEST_WAIT", 0)
    with Held():
        assert ask(key.secret).status_code == 503
    assert not KeyUsage.objects.exists()
    assert ask(key.secret).status_code == 200


on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="about counters in the project's PostgreSQL"
)


class HeldByPostgreSQL(Held):
    """Holds the locks of a statement."""

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
def patience(settings, counters):
    settings.RATE_LIMIT_STORE_TIMEOUT = 40
    forget_limiter()


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_barred_counters_hold_a_request_up_for_a_moment_and_the_next_ones_not_at_all(ask, key, patience):
    assert "RateLimit" in ask(key.secret).headers
    with HeldByPostgreSQL("LOCK TABLE rate_counters IN ACCESS EXCLUSIVE MODE"):
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
def test_a_counter_that_another_holds_for_a_while_is_waited_for_and_charged(ask, key, patience, settings):
    settings.DEFAULT_RATE_LIMIT_PERIOD = 3600  # nothing is given back during the wait
    ask(key.secret)
    before = int(ask(key.secret).headers["X-RateLimit-Remaining"])
    # Longer than the limiter waits on its own connection. After that, it would allow every request without counting it.
    with HeldByPostgreSQL("SELECT FROM rate_counters FOR UPDATE", 2.5) as lock:
        response = ask(key.secret)
        assert lock.released.is_set()
    assert int(response.headers["X-RateLimit-Remaining"]) == before - 1
    assert not limiter().breaker.is_open
    assert KeyUsage.objects.count() == 3


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_an_error_of_charging_and_writing_that_is_no_lock_is_503_and_logged(ask, key, monkeypatch, caplog):
    def fail(sql, parameters):
        raise OperationalError("could not extend file: No space left on device")

    monkeypatch.setattr(ledger, "run", fail)
    response = ask(key.secret)
    assert response.status_code == 503
    assert "No space left" not in response.content.decode()
    assert "No space left" in caplog.text
    assert response.json()["id"] in caplog.text
    assert not limiter().breaker.is_open


def test_a_look_up_inside_a_transaction_is_not_repeated(ask, key):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE key_permissions RENAME TO elsewhere")
    assert ask(key.secret).status_code == 503


def test_there_is_no_identity_without_a_key():
    with pytest.raises(LookupError):
        _ = Inquiry(Facts(MISSING, method="GET", path="/"), None).known_key
    with pytest.raises(ValueError, match="no identity"):
        identity_headers(Verdict(allowed=True, status=200))


def test_the_schema_is_published_to_gateways(client):
    description = client.get("/authz/openapi.json").json()
    assert set(description["paths"]) == {"/authz/verify", "/authz/usage"}
    question = description["paths"]["/authz/verify"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(question["properties"]) == {
        "key",
        "method",
        "path",
        "resource",
        "action",
        "host",
        "ip",
        "cost",
        "user_agent",
    }
    assert client.post("/authz/openapi.json").status_code == 405
