from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time

import pytest
import redis
from django.conf import settings as configured
from django.db import OperationalError, connection

from ratelimits import limiter as limiter_module
from ratelimits.budgets import Charge
from ratelimits.limiter import Budget, forget_limiter, limiter, make_store, store_name
from ratelimits.models import Denial, Outage
from ratelimits.recorder import Recorder
from ratelimits.stores import StoreUnavailable
from ratelimits.stores.memory import MemoryStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.sqlite import SQLiteStore
from tests.ratelimits.stores.redis_faults import redis_server
from tests.waiting import wait_until

ONE = [Budget("user:1/rule:1", 1, 60, name="one")]


def timed(work):
    began = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - began) * 1000


# --- Outcomes ---


def test_outcome_has_the_state_of_each_budget(memory, db):
    budgets = [Budget("a", 2, 60, name="two"), Budget("b", 10, 3600, "fixed", "ten")]
    outcome = memory.hit(budgets)
    assert outcome.allowed
    assert not outcome.degraded
    assert [(state.budget.name, state.remaining, state.exceeded, state.retry_after) for state in outcome.states] == [
        ("two", 1, False, 0),
        ("ten", 9, False, 0),
    ]
    assert outcome.retry_after == 0


def test_retry_after_is_that_of_the_slowest_budget(memory, db):
    budgets = [Budget("a", 1, 60), Budget("b", 1, 600)]
    memory.hit(budgets)
    outcome = memory.hit(budgets)
    assert not outcome.allowed
    assert [state.retry_after for state in outcome.states] == [60, 600]
    assert outcome.retry_after == 600


def test_observed_budget_does_not_affect_retry_after(memory, db):
    budgets = [Budget("a", 1, 60), Budget("b", 1, 600, observe=True)]
    memory.hit(budgets)
    assert memory.hit(budgets).retry_after == 60


def test_cost_0_is_always_allowed_and_not_charged(memory, db):
    memory.hit(ONE)
    assert memory.hit(ONE, 0).allowed
    assert not memory.hit(ONE, 0).states[0].exceeded
    assert memory.hit([Budget("other", 1, 60)], 0).states[0].remaining == 1


def test_negative_cost_is_an_error(memory):
    with pytest.raises(ValueError, match="0 or more"):
        memory.hit(ONE, -1)


def test_no_budgets_means_no_limit(memory):
    assert memory.hit([]).allowed
    assert memory.peek([]).states == ()
    memory.reset([])


def test_reset_clears_a_budget(memory, db):
    memory.hit(ONE)
    memory.reset([ONE[0].key])
    assert memory.hit(ONE).allowed


def test_disabled_limiter_still_limits_sign_in(memory, settings, db):
    settings.RATE_LIMITER_ENABLED = False
    assert [memory.hit(ONE).allowed for _ in range(3)] == [True] * 3
    assert memory.peek(ONE).states == ()
    assert [memory.hit(ONE, fail_closed=True).allowed for _ in range(2)] == [True, False]


# --- Which store ---


@pytest.mark.parametrize(
    ("named", "redis_url", "expected"),
    [("", "redis://localhost/1", "redis"), ("sqlite", "redis://localhost/1", "sqlite"), ("memory", "", "memory")],
)
def test_store_is_chosen_by_settings(settings, named, redis_url, expected):
    settings.RATE_LIMIT_STORE, settings.REDIS_URL = named, redis_url
    assert store_name() == expected


def test_default_store_depends_on_the_database(settings, db):
    settings.RATE_LIMIT_STORE = settings.REDIS_URL = ""
    assert store_name() == (
        "postgresql" if configured.DATABASES["default"]["ENGINE"].endswith("postgresql") else "sqlite"
    )


@pytest.mark.parametrize("name", ["redis", "postgresql", "sqlite", "memory"])
def test_stores_have_their_name(settings, name):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert make_store(name).name == name


def test_limiter_is_reused_until_forgotten(db):
    forget_limiter()
    assert limiter_module._limiters == []
    forget_limiter()
    first = limiter()
    assert limiter() is first
    forget_limiter()
    assert limiter() is not first


# --- A store that is down ---


class FlakyStore(MemoryStore):
    """A memory store with outages on demand."""

    is_down = False

    def hit_many(self, *args, **options):
        self.ping()
        return super().hit_many(*args, **options)

    def peek(self, *args, **options):
        self.ping()
        return super().peek(*args, **options)

    def ping(self):
        if self.is_down:
            raise StoreUnavailable("connection lost")


@pytest.fixture
def flaky(use_store):
    store = FlakyStore()
    use_store(store)
    yield store
    store.is_down = False
    wait_until(lambda: not limiter().breaker.is_open)


@pytest.mark.parametrize("fail_open", [True, False])
def test_fail_open_setting_decides_while_the_store_is_down(flaky, settings, fail_open, transactional_db):
    settings.RATE_LIMIT_FAIL_OPEN = fail_open
    flaky.is_down = True
    for ask in (limiter().hit, limiter().peek):
        outcome = ask(ONE)
        assert (outcome.allowed, outcome.degraded, outcome.states) == (fail_open, True, ())
    assert limiter().hit(ONE).retry_after == (0 if fail_open else 1)


QUOTA = Budget("user:1/rule:9", 5, 2_678_400, "month", name="month")


def test_quotas_never_fail_open(flaky, settings, transactional_db):
    flaky.is_down = True
    for charges in ([Charge([QUOTA])], [Charge(ONE), Charge([QUOTA])]):
        with pytest.raises(OperationalError, match="The database can't count quotas: connection lost"):
            limiter().hit_many(charges)
    # Peeking charges nothing, so it doesn't have to fail.
    assert limiter().peek([QUOTA]).degraded
    assert limiter().hit(ONE).degraded
    settings.RATE_LIMIT_FAIL_OPEN = False
    assert not limiter().hit([QUOTA]).allowed


def test_quotas_count_when_the_store_is_back(flaky, transactional_db):
    flaky.is_down = True
    limiter().hit(ONE)
    flaky.is_down = False
    outcome = limiter().hit([QUOTA])
    assert (outcome.degraded, outcome.states[0].remaining) == (False, 4)


def test_sign_in_is_denied_while_the_store_is_down(flaky, settings):
    settings.RATE_LIMIT_FAIL_OPEN = True
    flaky.is_down = True
    assert not limiter().hit(ONE, fail_closed=True).allowed
    assert not limiter().peek(ONE, fail_closed=True).allowed
    assert limiter().hit(ONE).allowed


def test_limiter_recovers_when_the_store_is_back(flaky, caplog):
    flaky.is_down = True
    assert limiter().hit(ONE).degraded
    assert limiter().breaker.is_open
    flaky.is_down = False
    wait_until(lambda: not limiter().breaker.is_open)
    assert not limiter().hit(ONE).degraded
    assert "The rate limit store (memory) is unavailable: connection lost" in caplog.messages
    wait_until(lambda: any("(memory) is available again" in message for message in caplog.messages))


@pytest.mark.django_db(transaction=True)
def test_outage_is_recorded_with_its_counts(outages_written, flaky, settings):
    flaky.is_down = True
    for _ in range(3):
        limiter().hit(ONE)
    limiter().hit(ONE, fail_closed=True)
    wait_until(lambda: Outage.objects.filter(ended_at=None).exists())
    flaky.is_down = False
    wait_until(lambda: not Outage.objects.filter(ended_at=None).exists())
    outage = Outage.objects.get()
    assert (outage.allowed, outage.denied) == (3, 1)
    assert (outage.store, outage.error) == ("memory", "connection lost")
    assert str(os.getpid()) in outage.node
    assert str(outage) == f"memory unavailable to {outage.node}"


def test_outage_that_cannot_be_recorded_still_ends(outages_written, flaky, caplog):
    """Without database access, the breaker's thread can't write the outage."""
    flaky.is_down = True
    limiter().hit(ONE)
    wait_until(lambda: "could not be recorded" in caplog.text)
    flaky.is_down = False
    wait_until(lambda: not limiter().breaker.is_open)


def test_stopped_breaker_does_not_probe_the_store(use_store):
    store = FlakyStore()
    store.is_down = True
    stopped = use_store(store)
    stopped.hit(ONE)
    stopped.breaker.stop()
    wait_until(lambda: not any(thread.name == "rate-limit-store-probe" for thread in threads()))


def threads():
    import threading

    return threading.enumerate()


# --- Real servers that hang ---


@pytest.fixture
def own_redis(tmp_path):
    """A Redis server that a test can stop and kill."""
    with redis_server(tmp_path) as server:
        yield server


def hang_and_recover(server, use_store, connected):
    """Stop the server for a while. Returns the milliseconds of the first hit, after which hits don't wait."""
    store = RedisStore(url_of(server))
    if connected:
        store.ping()
    limiter_in_use = use_store(store)
    server.send_signal(signal.SIGSTOP)
    outcome, milliseconds = timed(lambda: limiter_in_use.hit(ONE))
    assert outcome.degraded
    wait_until(lambda: timed(lambda: limiter().hit(ONE))[1] < 5, every=0)
    assert not limiter_in_use.hit(ONE, fail_closed=True).allowed
    server.send_signal(signal.SIGCONT)
    wait_until(lambda: not limiter_in_use.breaker.is_open)
    fresh = [Budget(f"fresh:{time.time_ns()}", 1, 60)]
    assert [limiter_in_use.hit(fresh).allowed for _ in range(2)] == [True, False]
    return milliseconds


def url_of(server):
    return f"redis://127.0.0.1:{server.port}/0"


@pytest.mark.redis
@pytest.mark.parametrize("connected", [True, False])
def test_hanging_redis_delays_one_request_by_at_most_60_ms(own_redis, use_store, connected, transactional_db):
    # Repeated until it is fast enough once, because a busy machine is slower.
    wait_until(lambda: hang_and_recover(own_redis, use_store, connected) <= 60)


@pytest.mark.redis
def test_restarting_redis_causes_no_outage(own_redis, use_store):
    limiter_in_use = use_store(RedisStore(url_of(own_redis)))
    limiter_in_use.hit(ONE)
    with redis.Redis(port=own_redis.port) as client:
        client.client_kill_filter(skipme=True, _type="normal")
        client.script_flush()
    outcome = limiter_in_use.hit([Budget("x", 100, 60)])
    assert (outcome.allowed, outcome.degraded) == (True, False)


@pytest.mark.redis
def test_killed_redis_is_an_outage(own_redis, use_store):
    limiter_in_use = use_store(RedisStore(url_of(own_redis)))
    limiter_in_use.hit(ONE)
    own_redis.kill()
    own_redis.wait()
    assert limiter_in_use.hit(ONE).degraded
    assert limiter_in_use.breaker.is_open


@pytest.mark.redis
def test_redis_error_response_makes_the_store_unavailable(own_redis):
    store = RedisStore(url_of(own_redis))
    with redis.Redis(port=own_redis.port) as client:
        client.lpush("gatehouse:limit:wrong", 1)
    with pytest.raises(StoreUnavailable, match="Redis"):
        store.hit([Budget("wrong", 1, 60)])
    store.close()


def test_locked_sqlite_file_delays_a_request_by_at_most_60_ms(tmp_path):
    other = sqlite3.connect(tmp_path / "counters.sqlite3", isolation_level=None)
    store = SQLiteStore(tmp_path / "counters.sqlite3")
    store.ping()
    other.execute("BEGIN IMMEDIATE")
    wait_until(lambda: milliseconds_until_unavailable(store) <= 60)
    other.close()
    store.close()


def milliseconds_until_unavailable(store):
    began = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        store.hit(ONE)
    return (time.perf_counter() - began) * 1000


def test_locked_sqlite_file_is_an_outage_until_unlocked(tmp_path, use_store):
    limiter_in_use = use_store(SQLiteStore(tmp_path / "counters.sqlite3"))
    limiter_in_use.hit([Budget("x", 100, 60)])
    other = sqlite3.connect(tmp_path / "counters.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert limiter_in_use.hit(ONE).degraded
    wait_until(lambda: timed(lambda: limiter_in_use.hit(ONE))[1] < 5)
    other.execute("COMMIT")
    other.close()
    wait_until(lambda: not limiter_in_use.breaker.is_open)
    assert not limiter_in_use.hit(ONE).degraded


# --- Recorded denials ---


def test_repeated_denials_are_recorded_in_one_row(memory, db):
    for _ in range(4):
        memory.hit(ONE)
    denial = Denial.objects.get()
    assert (denial.owner, denial.key, denial.name, denial.count) == ("user:1", "user:1/rule:1", "one", 1)
    assert denial.in_words == "1 per minute"
    assert denial.budget == ONE[0]
    assert str(denial) == "user:1 at one"
    assert list(Denial.objects.recent()) == [denial]


def test_pending_denials_are_written_with_the_next_one(memory, db, monkeypatch):
    for _ in range(4):
        memory.hit(ONE)
    monkeypatch.setattr("ratelimits.recorder.WRITE_INTERVAL", -1.0)
    memory.hit(ONE)
    assert Denial.objects.get().count == 4


def test_observed_limit_records_whom_it_would_deny(memory, db):
    observed = [Budget("user:2/rule:9", 1, 60, name="observed", observe=True)]
    assert [memory.hit(observed).allowed for _ in range(2)] == [True, True]
    assert Denial.objects.get().observed


def test_writes_of_denials_are_limited(memory, db, monkeypatch):
    monkeypatch.setattr("ratelimits.recorder.MAX_WRITES", 3)
    own_recorder = Recorder()
    for number in range(10):
        budget = [Budget(f"addr:10.0.0.{number}/default", 1, 60)]
        memory.store.hit(budget)
        own_recorder.record(limiter_module.outcome_of(budget, memory.store.hit(budget)))
    assert Denial.objects.count() == 3


def fail_to_write(*_):
    raise OperationalError("disk full")


def test_denial_that_cannot_be_recorded_is_logged_and_stays_denied(memory, db, caplog):
    too_long = [Budget("user:1/" + "x" * 100_000, 2**62, 60, name="n" * 100_000)]
    memory.hit(too_long, 2**62)
    with connection.execute_wrapper(fail_to_write):
        assert not memory.hit(too_long, 2**62).allowed
    assert "could not be recorded" in caplog.text


def test_hits_sweep_occasionally(memory, db, monkeypatch):
    monkeypatch.setattr(limiter_module, "SWEEP_EVERY", 1)
    memory.hit([Budget("dead", 1, 1)], clock=1)
    memory.hit(ONE)
    assert memory.store.count() == 1


def fail_to_sweep(store, *, batch):
    raise StoreUnavailable("connection lost")


def test_failed_sweep_does_not_affect_the_request(flaky, db, monkeypatch):
    monkeypatch.setattr(limiter_module, "SWEEP_EVERY", 1)
    monkeypatch.setattr(FlakyStore, "sweep", fail_to_sweep)
    assert limiter().hit(ONE).allowed


def test_sqlite_file_without_its_table_is_unavailable(tmp_path):
    store = SQLiteStore(tmp_path / "counters.sqlite3")
    store.hit(ONE)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("DROP TABLE counters")
    other.close()
    with pytest.raises(StoreUnavailable, match="no such table"):
        store.hit(ONE)
    store.close()


def test_hit_waits_while_others_make_progress(tmp_path):
    """It waits longer than the timeout, because changes to the file mean that others are making progress."""
    store = SQLiteStore(tmp_path / "counters.sqlite3", timeout=1)
    store.ping()
    holding = threading.Event()

    def hold():
        other = sqlite3.connect(store.path, isolation_level=None)
        for number in range(25):
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO counters VALUES (?, 0, 1, 0)", [f"other:{number}"])
            holding.set()
            time.sleep(0.05)
            other.execute("COMMIT")
        other.close()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    assert store.hit(ONE).allowed
    thread.join()
    store.close()
