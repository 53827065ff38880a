"""“Recently rate limited” counts every rate limited request within seconds, even if no other request follows."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection
from django.urls import reverse

from config.base.history import Author
from ratelimits import recorder as recorder_module
from ratelimits.budgets import Budget
from ratelimits.limiter import limiter
from ratelimits.models import Denial, Outage
from ratelimits.recorder import OutageRecorder, recorder
from ratelimits.services import reset_owner
from tests.apikeys.gateway.servers import call, gatehouse
from tests.waiting import wait_until

DENIED = 42


@pytest.fixture
def quick_thread(monkeypatch):
    """The thread writes denials immediately instead of after some seconds."""
    monkeypatch.setattr(recorder_module, "WRITE_INTERVAL", 0.02)


def budget(owner="user:1"):
    return [Budget(f"{owner}/rule:1", 1, 36_000, name="one")]


def deny(times, budgets=None):
    """Make this many requests beyond the limit of `budgets`, which must be unused."""
    outcomes = [limiter().hit(budgets or budget()).allowed for _ in range(times + 1)]
    assert outcomes == [True] + [False] * times


def recorded_count():
    return sum(Denial.objects.values_list("count", flat=True))


def test_page_shows_all_denials_of_a_burst(memory, staff_client):
    deny(DENIED)
    page = staff_client.get(reverse("ratelimits:limited_now")).content.decode()
    assert re.findall(r'<td class="num">([\d,]+)</td>', page)[0] == str(DENIED)


@pytest.mark.django_db(transaction=True)
def test_burst_is_written_without_another_request(memory):
    deny(DENIED)
    wait_until(lambda: recorded_count() == DENIED)
    # And again after the thread was idle.
    deny(DENIED, budget("user:2"))
    wait_until(lambda: recorded_count() == 2 * DENIED)


@pytest.mark.django_db
def test_denials_beyond_the_write_limit_are_all_counted(memory, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 2)
    for number in range(5):
        deny(3, budget(f"addr:10.0.0.{number}"))
    recorder.flush()
    assert list(Denial.objects.values_list("count", flat=True)) == [3] * 5


@pytest.mark.django_db
def test_number_of_pending_denials_is_limited(memory, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_HELD", 3)
    for number in range(5):
        deny(2, budget(f"addr:10.0.0.{number}"))
    recorder.flush()
    assert sorted(Denial.objects.values_list("count", flat=True)) == [2] * 3


@pytest.mark.django_db
def test_written_denials_make_room_for_others(memory, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_HELD", 1)
    for number in (1, 2):
        deny(1, budget(f"addr:10.0.0.{number}"))
    assert [denial.owner for denial in Denial.objects.all()] == ["addr:10.0.0.1"]
    monkeypatch.setattr(recorder_module, "WRITE_INTERVAL", -1)  # as if it had passed
    deny(1, budget("addr:10.0.0.3"))
    assert Denial.objects.filter(owner="addr:10.0.0.3").exists()


@pytest.mark.django_db
def test_pending_denials_are_dropped_by_a_reset(memory, rf):
    deny(DENIED)
    reset_owner("user:1", Author(None))
    recorder.flush()
    assert not Denial.objects.exists()
    deny(1)
    recorder.flush()


def reject(*_):
    raise OperationalError("cannot execute INSERT in a read-only transaction")


@pytest.mark.django_db
def test_counts_are_kept_until_the_database_accepts_them(memory, caplog):
    with connection.execute_wrapper(reject):
        deny(DENIED)
        recorder.flush()
    assert "could not be recorded" in caplog.text
    assert recorded_count() == 0
    recorder.flush()
    assert recorded_count() == DENIED


@pytest.mark.django_db(transaction=True)
def test_thread_retries_until_the_database_accepts_the_counts(memory, monkeypatch, quick_thread):
    rejected = []

    def reject_at_first(due, write=recorder_module.write):
        if due and len(rejected) < 3:
            rejected.append(due)
            return due
        return write(due)

    monkeypatch.setattr(recorder_module, "write", reject_at_first)
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 0)  # requests leave all writing to the thread
    deny(DENIED)
    wait_until(lambda: recorded_count() == DENIED)


@pytest.mark.django_db(transaction=True)
def test_thread_survives_unexpected_errors(memory, monkeypatch, caplog, quick_thread):
    failures = []

    def fail_at_first(due, write=recorder_module.write):
        if due and not failures:
            failures.append(due)
            raise RuntimeError("unexpected")
        return write(due)

    monkeypatch.setattr(recorder_module, "write", fail_at_first)
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 0)  # requests leave all writing to the thread
    deny(1)
    wait_until(lambda: "Denials could not be recorded" in caplog.text)
    deny(DENIED, budget("user:2"))
    wait_until(lambda: recorded_count() == DENIED)


@pytest.mark.django_db
def test_denial_that_cannot_be_stored_does_not_affect_others(memory, monkeypatch, caplog):
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 0)
    nameless = [Budget("user:3/rule:1", 1, 36_000, name=None)]
    for budgets in (budget("user:2"), nameless, budget("user:4")):
        deny(DENIED, budgets)
    recorder.flush()
    assert "could not be recorded" in caplog.text
    assert list(Denial.objects.order_by("key").values_list("owner", "count")) == [("user:2", 42), ("user:4", 42)]


@pytest.mark.django_db
def test_denials_of_a_deleted_rule_are_counted(memory):
    deny(DENIED, [Budget("user:1/rule:999", 1, 36_000, name="gone", rule_id=999)])
    recorder.flush()
    assert Denial.objects.get().count == DENIED


@pytest.mark.django_db
def test_ongoing_outage_is_recorded_when_the_process_ends():
    log = OutageRecorder("redis", "gone")
    log.allowed = DENIED
    log._end_with_the_process()
    outage = Outage.objects.get()
    assert (outage.allowed, outage.ended_at is not None) == (DENIED, True)


# --- Real workers ---

WORKERS = 2
LIMITS = {"RATE_LIMITED_PATHS": "/", "DEFAULT_RATE_LIMIT_LIMIT": "5", "DEFAULT_RATE_LIMIT_PERIOD": "36000"}


@pytest.fixture
def no_counters(transactional_db):
    """On PostgreSQL, workers count in the test database, which can have counters of another test's workers."""
    limiter().store.clear()


def statuses(port, number):
    with ThreadPoolExecutor(8) as clients:
        return list(clients.map(lambda _: call(port, path="/").status, range(number)))


@pytest.mark.django_db(transaction=True)
def test_counts_of_all_workers_add_up(tmp_path, no_counters):
    with gatehouse(tmp_path, workers=WORKERS, **LIMITS) as process:
        assert statuses(process.port, 5 + DENIED).count(429) == DENIED
        wait_until(lambda: recorded_count() == DENIED)


SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGQUIT": signal.SIGQUIT}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sent", SIGNALS.values(), ids=SIGNALS)
def test_no_denials_are_lost_when_workers_end(tmp_path, no_counters, sent):
    with gatehouse(tmp_path, workers=WORKERS, **LIMITS) as process:
        assert statuses(process.port, 5 + DENIED).count(429) == DENIED
        process.send_signal(sent)
        process.wait(60)
    assert recorded_count() == DENIED


@pytest.mark.django_db(transaction=True)
def test_no_denials_are_lost_at_max_requests(tmp_path, no_counters):
    with gatehouse(tmp_path, "--max-requests", "7", "--max-requests-jitter", "0", workers=WORKERS, **LIMITS) as process:
        assert statuses(process.port, 5 + DENIED).count(429) == DENIED
        wait_until(lambda: recorded_count() == DENIED)


@pytest.mark.django_db(transaction=True)
def test_outage_ends_with_its_process(tmp_path):
    unavailable = {"RATE_LIMIT_STORE": "redis", "REDIS_URL": "redis://127.0.0.1:1/0"}
    with gatehouse(tmp_path, **LIMITS, **unavailable) as process:
        statuses(process.port, DENIED)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    outage = Outage.objects.get()
    assert outage.ended_at is not None
    assert outage.allowed == DENIED
