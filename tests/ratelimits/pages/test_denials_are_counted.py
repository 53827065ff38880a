"""“Recently rate limited” shows every rate limited request soon, whether or not another one follows."""

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
    """The thread that records denials does so at once, not after some seconds."""
    monkeypatch.setattr(recorder_module, "WRITE_INTERVAL", 0.02)


def budget(owner="user:1"):
    return [Budget(f"{owner}/rule:1", 1, 36_000, name="one")]


def deny(times, budgets=None):
    """Make this many requests over the limit of `budgets`, which were unused before."""
    outcomes = [limiter().hit(budgets or budget()).allowed for _ in range(times + 1)]
    assert outcomes == [True] + [False] * times


def counted():
    return sum(Denial.objects.values_list("count", flat=True))


def test_the_page_shows_all_of_a_burst(memory, staff_client):
    deny(DENIED)
    page = staff_client.get(reverse("ratelimits:limited_now")).content.decode()
    assert re.findall(r'<td class="num">([\d,]+)</td>', page)[0] == str(DENIED)


@pytest.mark.django_db(transaction=True)
def test_a_burst_is_in_the_database_soon_without_another_event(memory):
    deny(DENIED)
    wait_until(lambda: counted() == DENIED)
    # More of them, after the thread was idle.
    deny(DENIED, budget("user:2"))
    wait_until(lambda: counted() == 2 * DENIED)


@pytest.mark.django_db
def test_more_limits_than_requests_may_write_at_a_time_are_all_counted(memory, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 2)
    for number in range(5):
        deny(3, budget(f"addr:10.0.0.{number}"))
    recorder.flush()
    assert list(Denial.objects.values_list("count", flat=True)) == [3] * 5


@pytest.mark.django_db
def test_a_flood_of_addresses_does_not_fill_the_memory(memory, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_HELD", 3)
    for number in range(5):
        deny(2, budget(f"addr:10.0.0.{number}"))
    recorder.flush()
    assert sorted(Denial.objects.values_list("count", flat=True)) == [2] * 3


@pytest.mark.django_db
def test_what_was_written_makes_room_for_other_addresses(memory, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_HELD", 1)
    for number in (1, 2):
        deny(1, budget(f"addr:10.0.0.{number}"))
    assert [denial.owner for denial in Denial.objects.all()] == ["addr:10.0.0.1"]
    monkeypatch.setattr(recorder_module, "WRITE_INTERVAL", -1)  # it has passed
    deny(1, budget("addr:10.0.0.3"))
    assert Denial.objects.filter(owner="addr:10.0.0.3").exists()


@pytest.mark.django_db
def test_what_came_before_a_reset_does_not_come_back(memory, rf):
    deny(DENIED)
    reset_owner("user:1", Author(None))
    recorder.flush()
    assert not Denial.objects.exists()
    deny(1)
    recorder.flush()


def refuse(*_):
    raise OperationalError("cannot execute INSERT in a read-only transaction")


@pytest.mark.django_db
def test_counts_that_the_database_refuses_are_kept_until_it_takes_them(memory, caplog):
    with connection.execute_wrapper(refuse):
        deny(DENIED)
        recorder.flush()
    assert "could not be recorded" in caplog.text
    assert counted() == 0
    recorder.flush()
    assert counted() == DENIED


@pytest.mark.django_db(transaction=True)
def test_the_thread_tries_again_until_the_database_takes_them(memory, monkeypatch, quick_thread):
    refused = []

    def refuse_at_first(due, write=recorder_module.write):
        if due and len(refused) < 3:
            refused.append(due)
            return due
        return write(due)

    monkeypatch.setattr(recorder_module, "write", refuse_at_first)
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 0)  # requests leave all writing to the thread
    deny(DENIED)
    wait_until(lambda: counted() == DENIED)


@pytest.mark.django_db(transaction=True)
def test_the_thread_survives_whatever_happens(memory, monkeypatch, caplog, quick_thread):
    failures = []

    def fail_at_first(due, write=recorder_module.write):
        if due and not failures:
            failures.append(due)
            raise RuntimeError("something nobody thought of")
        return write(due)

    monkeypatch.setattr(recorder_module, "write", fail_at_first)
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 0)  # requests leave all writing to the thread
    deny(1)
    wait_until(lambda: "Denials could not be recorded" in caplog.text)
    deny(DENIED, budget("user:2"))
    wait_until(lambda: counted() == DENIED)


@pytest.mark.django_db
def test_one_that_cannot_be_stored_takes_no_other_with_it(memory, monkeypatch, caplog):
    monkeypatch.setattr(recorder_module, "MAX_WRITES", 0)
    nameless = [Budget("user:3/rule:1", 1, 36_000, name=None)]
    for budgets in (budget("user:2"), nameless, budget("user:4")):
        deny(DENIED, budgets)
    recorder.flush()
    assert "could not be recorded" in caplog.text
    assert list(Denial.objects.order_by("key").values_list("owner", "count")) == [("user:2", 42), ("user:4", 42)]


@pytest.mark.django_db
def test_a_rule_that_is_gone_by_now_does_not_keep_its_refusals_from_being_counted(memory):
    deny(DENIED, [Budget("user:1/rule:999", 1, 36_000, name="gone", rule_id=999)])
    recorder.flush()
    assert Denial.objects.get().count == DENIED


@pytest.mark.django_db
def test_an_outage_that_the_process_does_not_survive_is_noted_at_its_end():
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
    """On PostgreSQL, workers count in the test database, where another test's workers may have counted before."""
    limiter().store.clear()


def statuses(port, number):
    with ThreadPoolExecutor(8) as clients:
        return list(clients.map(lambda _: call(port, path="/").status, range(number)))


@pytest.mark.django_db(transaction=True)
def test_the_counts_of_all_workers_add_up_without_another_event(tmp_path, no_counters):
    with gatehouse(tmp_path, workers=WORKERS, **LIMITS) as process:
        assert statuses(process.port, 5 + DENIED).count(429) == DENIED
        wait_until(lambda: counted() == DENIED)


ENDS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGQUIT": signal.SIGQUIT}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sent", ENDS.values(), ids=ENDS)
def test_nothing_is_lost_when_the_workers_end(tmp_path, no_counters, sent):
    with gatehouse(tmp_path, workers=WORKERS, **LIMITS) as process:
        assert statuses(process.port, 5 + DENIED).count(429) == DENIED
        process.send_signal(sent)
        process.wait(60)
    assert counted() == DENIED


@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_when_workers_wear_out(tmp_path, no_counters):
    with gatehouse(tmp_path, "--max-requests", "7", "--max-requests-jitter", "0", workers=WORKERS, **LIMITS) as process:
        assert statuses(process.port, 5 + DENIED).count(429) == DENIED
        wait_until(lambda: counted() == DENIED)


@pytest.mark.django_db(transaction=True)
def test_an_outage_ends_with_the_process_that_saw_it(tmp_path):
    away = {"RATE_LIMIT_STORE": "redis", "REDIS_URL": "redis://127.0.0.1:1/0"}
    with gatehouse(tmp_path, **LIMITS, **away) as process:
        statuses(process.port, DENIED)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    outage = Outage.objects.get()
    assert outage.ended_at is not None
    assert outage.allowed == DENIED
