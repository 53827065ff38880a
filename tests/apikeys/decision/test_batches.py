"""Decisions in batches: limits are exact, requests are decided in order, and a request that fails doesn't affect others."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest
from django.db import OperationalError, connections

from apikeys.decision import ledger, upkeep
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import MISSING, Credential, read_credential
from apikeys.decision.decide import Verdict, decide, decide_many
from apikeys.gateway import batches
from apikeys.gateway.batches import BatchQueue, ClientGoneError, QueueFullError
from apikeys.models import KeyUsage
from ratelimits.budgets import Budget, Charge
from ratelimits.limiter import forget_limiter, limiter
from ratelimits.stores import StoreUnavailable
from tests.apikeys.conftest import make_key

pytestmark = pytest.mark.django_db(transaction=True)


def facts(key, path="/orders", **more):
    return Facts(read_credential("", key.secret), "GET", path, "203.0.113.9", "curl/8", **more)


def statuses(verdicts):
    return Counter(verdict.status for verdict in verdicts)


def test_batch_of_500_does_not_exceed_a_limit_of_100(key):
    verdicts = decide_many([facts(key)] * 500)
    assert statuses(verdicts) == {200: 100, 429: 400}
    # In order: the first ones are allowed.
    assert [verdict.status for verdict in verdicts[:100]] == [200] * 100
    assert KeyUsage.objects.filter(status_code=200).count() == 100
    assert KeyUsage.objects.filter(status_code=429, reason="rate_limited").count() == 400
    assert len({verdict.event_id for verdict in verdicts}) == 500


def test_each_verdict_has_what_remained_after_it(key):
    verdicts = decide_many([facts(key, cost=cost) for cost in (1, 10, 0, 100, 5)])
    assert [verdict.outcome.states[0].remaining for verdict in verdicts] == [99, 89, 89, 89, 84]
    assert statuses(verdicts) == {200: 4, 429: 1}


def test_one_batch_can_have_every_kind_of_verdict(key, alice, bob):
    revoked, narrow = make_key(bob, "old"), make_key(alice, "narrow", allow=["read /orders"])
    revoked.__class__.objects.filter(pk=revoked.pk).update(revoked_at=revoked.created_at, revoked_reason="lost")
    unknown = Credential(secret=key.secret[::-1])
    asked = [
        facts(key),
        Facts(MISSING, "GET", "/orders"),
        Facts(unknown, "GET", "/orders"),
        facts(revoked),
        facts(narrow, "/invoices"),
        facts(narrow),
        facts(key, "/a/../b"),
    ]
    verdicts = decide_many(asked)
    assert [verdict.reason for verdict in verdicts] == [
        "", "missing_key", "unknown_key", "revoked_key", "permission_denied", "", "ambiguous_path",
    ]  # fmt: skip
    assert [verdict.event_id is None for verdict in verdicts] == [False, True, True, False, False, False, False]
    assert KeyUsage.objects.count() == 5
    assert verdicts == [v._replace(event_id=w.event_id) for v, w in zip(verdicts, verdicts, strict=True)]


def test_batch_without_keys_makes_no_queries(django_assert_num_queries):
    with django_assert_num_queries(0):
        verdicts = decide_many([Facts(MISSING, "GET", "/")] * 3)
    assert [verdict.reason for verdict in verdicts] == ["missing_key"] * 3
    assert decide_many([]) == []


@pytest.fixture
def poison(monkeypatch):
    """Requests for /poison get a usage row that the database rejects."""
    original = ledger.entry

    def entry(*arguments, **named):
        made = original(*arguments, **named)
        return made._replace(user="nobody" * 9) if named["endpoint"] == "/poison" else made

    monkeypatch.setattr(ledger, "entry", entry)


def test_request_that_breaks_the_statement_fails_alone(key, alice, poison, vendor):
    if vendor == "sqlite":
        reject_text_user_ids()
    verdicts = decide_many([facts(key), facts(key, "/poison"), facts(key)])
    assert [verdict.status for verdict in verdicts] == [200, 503, 200]
    assert verdicts[1].error is not None
    assert KeyUsage.objects.count() == 2
    # Two were charged, and the failed one at most once.
    assert verdicts[2].outcome.states[0].remaining in {97, 98}
    with pytest.raises(Exception):  # noqa: B017, PT011  (databases raise different errors)
        decide(facts(key, "/poison"))


def reject_text_user_ids():
    """Make SQLite reject text in place of a number."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER IF NOT EXISTS strict BEFORE INSERT ON key_usage WHEN typeof(NEW.user_id) <> 'integer' "
            "BEGIN SELECT RAISE(ABORT, 'not a number'); END"
        )


@pytest.fixture
def vendor():
    yield connections["default"].vendor
    if connections["default"].vendor == "sqlite":
        with connections["default"].cursor() as cursor:
            cursor.execute("DROP TRIGGER IF EXISTS strict")


def test_row_that_cannot_be_written_fails_alone(key, monkeypatch):
    """It fails after the limits were charged: the others keep their verdicts, and no one is charged again."""
    monkeypatch.setattr(ledger, "settle_at_once", lambda lines: None)
    original, calls = ledger.write, []

    def write(rows):
        calls.append(len(rows))
        if any(row[4] == "/poison" for row in rows):
            raise ledger.UnwrittenError("no")
        original(rows)

    monkeypatch.setattr(ledger, "write", write)
    verdicts = decide_many([facts(key), facts(key, "/poison"), facts(key)])
    assert [verdict.status for verdict in verdicts] == [200, 503, 200]
    assert calls == [3, 1, 1, 1]
    assert limiter().peek([verdicts[0].outcome.states[0].budget]).states[0].remaining == 97


def test_unavailable_database_is_queried_once_per_batch(key, monkeypatch):
    asked = []

    def gone(*arguments, **named):
        asked.append(arguments)
        raise OperationalError("gone")

    monkeypatch.setattr("apikeys.decision.decide.find_keys", gone)
    verdicts = decide_many([facts(key)] * 3)
    assert statuses(verdicts) == {503: 3}
    assert len(asked) == 1


def test_failure_to_write_last_use_keeps_the_verdict(key, monkeypatch, caplog):
    def locked(*arguments):
        raise OperationalError("locked")

    monkeypatch.setattr("apikeys.decision.upkeep.note_uses", locked)
    assert statuses(decide_many([facts(key)] * 2)) == {200: 2}
    assert "last use of keys could not be written" in caplog.text


def test_failure_to_replace_one_hash_keeps_the_verdicts_and_replaces_others(
    alice, counters, settings, monkeypatch, caplog
):
    settings.API_KEY_PEPPERS = ["old" * 14]
    keys = [make_key(alice, name) for name in ("stuck", "other")]
    settings.API_KEY_PEPPERS = ["new" * 14, "old" * 14]
    rehash = upkeep.rehash

    def locked(key, secret):
        if key.name == "stuck":
            raise OperationalError("locked")
        rehash(key, secret)

    monkeypatch.setattr(upkeep, "rehash", locked)
    assert statuses(decide_many(list(map(facts, keys)))) == {200: 2}
    assert "hash of a key could not be replaced" in caplog.text
    hashes = [key.secret_hash for key in keys]
    for key in keys:
        key.refresh_from_db()
    assert [key.secret_hash == before for key, before in zip(keys, hashes, strict=True)] == [True, False]


def test_only_requests_with_budgets_are_degraded_without_the_store(key, monkeypatch):
    def away(*arguments, **options):
        raise StoreUnavailable("away")

    monkeypatch.setattr(limiter().store, "hit_many", away)
    monkeypatch.setattr(limiter().store, "hit_with", lambda *arguments: None, raising=False)
    outcomes = limiter().hit_many([Charge(()), Charge((Budget("a", 1, 60),))])
    assert [outcome.degraded for outcome in outcomes] == [False, True]
    forget_limiter()


# --- The queue -------------------------------------------------------------------------------------------------------


def never():
    return False


@pytest.fixture
def slow(monkeypatch):
    """(The paths of each batch, an event that the first batch waits for)."""
    batch_paths, may_go_on = [], threading.Event()

    def decided(asked):
        batch_paths.append([one.path for one in asked])
        assert may_go_on.wait(10)
        return [Verdict(allowed=True, status=200) for _ in asked]

    monkeypatch.setattr(batches, "decide_at_once", decided)
    return batch_paths, may_go_on


def question(number):
    return Facts(Credential(secret="s"), "GET", f"/{number}")


async def started(queue, numbers, is_gone=never):
    tasks = [asyncio.ensure_future(queue.decide(question(number), is_gone, "nginx")) for number in numbers]
    await asyncio.sleep(0.05)
    return tasks


def test_waiting_requests_are_decided_together_in_order(slow, monkeypatch):
    batch_paths, may_go_on = slow
    monkeypatch.setattr(batches, "LARGEST_BATCH", 3)
    queue = BatchQueue()

    async def run():
        first = await started(queue, [0])
        others = await started(queue, [1, 2, 3, 4])
        may_go_on.set()
        await asyncio.gather(*first, *others)

    asyncio.run(run())
    queue.thread.shutdown()
    assert batch_paths == [["/0"], ["/1", "/2", "/3"], ["/4"]]


def test_clients_that_ask_again_join_the_clients_that_waited(slow):
    """Otherwise, two halves of the clients would take turns in twice as many batches."""
    batch_paths, may_go_on = slow
    queue = BatchQueue()

    async def ask_twice(number):
        await queue.decide(question(number), never, "nginx")
        await queue.decide(question(number), never, "nginx")

    async def run():
        early = asyncio.ensure_future(ask_twice(0))
        await asyncio.sleep(0.05)
        waiting = await started(queue, [1])
        may_go_on.set()
        await asyncio.gather(early, *waiting)

    asyncio.run(run())
    queue.thread.shutdown()
    assert batch_paths == [["/0"], ["/1", "/0"]]


def test_full_queue_rejects_immediately(slow, monkeypatch):
    _, may_go_on = slow
    monkeypatch.setattr(batches, "MOST_WAITING", 2)
    queue = BatchQueue()

    async def run():
        waiting = [*await started(queue, [0]), *await started(queue, [1, 2])]
        with pytest.raises(QueueFullError):
            await queue.decide(question(3), never, "nginx")
        may_go_on.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())
    queue.thread.shutdown()


def test_disconnected_client_is_not_decided(slow):
    batch_paths, may_go_on = slow
    queue = BatchQueue()

    async def run():
        first = await started(queue, [0])
        (gone,) = await started(queue, [1], lambda: True)
        (stays,) = await started(queue, [2])
        may_go_on.set()
        await asyncio.gather(*first, stays)
        with pytest.raises(ClientGoneError):
            await gone

    asyncio.run(run())
    queue.thread.shutdown()
    assert batch_paths == [["/0"], ["/2"]]


def test_cancelled_task_does_not_affect_other_verdicts(slow):
    _, may_go_on = slow
    queue = BatchQueue()

    async def run():
        cancelled, stays = await started(queue, [0, 1])
        cancelled.cancel()
        may_go_on.set()
        assert (await stays).allowed

    asyncio.run(run())
    queue.thread.shutdown()
