"""Decisions in batches: exact, in turn, and one that fails doesn't fail its neighbours."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest
from django.db import OperationalError, connections

from apikeys.decision import ledger
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


def test_a_batch_of_500_gets_what_one_budget_of_100_allows(key):
    verdicts = decide_many([facts(key)] * 500)
    assert statuses(verdicts) == {200: 100, 429: 400}
    # In turn: the first ones are allowed.
    assert [verdict.status for verdict in verdicts[:100]] == [200] * 100
    assert KeyUsage.objects.filter(status_code=200).count() == 100
    assert KeyUsage.objects.filter(status_code=429, reason="rate_limited").count() == 400
    assert len({verdict.event_id for verdict in verdicts}) == 500


def test_each_verdict_tells_what_was_left_after_it(key):
    verdicts = decide_many([facts(key, cost=cost) for cost in (1, 10, 0, 100, 5)])
    assert [verdict.outcome.states[0].remaining for verdict in verdicts] == [99, 89, 89, 89, 84]
    assert statuses(verdicts) == {200: 4, 429: 1}


def test_every_kind_of_verdict_in_one_batch(key, alice, bob):
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


def test_a_batch_without_a_known_key_asks_nothing_of_counters_and_ledger(django_assert_num_queries):
    with django_assert_num_queries(0):
        verdicts = decide_many([Facts(MISSING, "GET", "/")] * 3)
    assert [verdict.reason for verdict in verdicts] == ["missing_key"] * 3
    assert decide_many([]) == []


@pytest.fixture
def poison(monkeypatch):
    """One path whose usage row no database takes."""
    original = ledger.entry

    def entry(*arguments, **named):
        made = original(*arguments, **named)
        return made._replace(user="nobody" * 9) if named["endpoint"] == "/poison" else made

    monkeypatch.setattr(ledger, "entry", entry)


def test_a_request_that_breaks_the_statement_fails_alone_and_nobody_is_charged_twice(key, alice, poison, vendor):
    if vendor == "sqlite":
        make_strict()
    verdicts = decide_many([facts(key), facts(key, "/poison"), facts(key)])
    assert [verdict.status for verdict in verdicts] == [200, 503, 200]
    assert verdicts[1].error is not None
    assert KeyUsage.objects.count() == 2
    # Two were charged, and the poisoned one at most once.
    assert verdicts[2].outcome.states[0].remaining in {97, 98}
    with pytest.raises(Exception):  # noqa: B017, PT011  (whatever the database calls it)
        decide(facts(key, "/poison"))


def make_strict():
    """SQLite takes any text for a number, unless a trigger refuses it."""
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


def test_a_row_that_cannot_be_written_fails_alone(key, monkeypatch):
    """After the budgets were charged: the others keep their verdict, nobody is charged again."""
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


def test_a_database_that_is_gone_is_asked_once_for_the_whole_batch(key, monkeypatch):
    asked = []

    def gone(*arguments, **named):
        asked.append(arguments)
        raise OperationalError("gone")

    monkeypatch.setattr("apikeys.decision.decide.find_keys", gone)
    verdicts = decide_many([facts(key)] * 3)
    assert statuses(verdicts) == {503: 3}
    assert len(asked) == 1


def test_a_last_use_that_cannot_be_written_costs_nobody_the_verdict(key, monkeypatch, caplog):
    def locked(*arguments):
        raise OperationalError("locked")

    monkeypatch.setattr("apikeys.decision.upkeep.note_use", locked)
    assert statuses(decide_many([facts(key)] * 2)) == {200: 2}
    assert "last use of a key could not be written" in caplog.text


def test_without_the_store_only_requests_with_budgets_are_degraded(key, monkeypatch):
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
    """The sizes of batches; the first one waits until the test lets it go on."""
    sizes, may_go_on = [], threading.Event()

    def decided(asked):
        sizes.append([one.path for one in asked])
        assert may_go_on.wait(10)
        return [Verdict(allowed=True, status=200) for _ in asked]

    monkeypatch.setattr(batches, "decide_at_once", decided)
    return sizes, may_go_on


def question(number):
    return Facts(Credential(secret="s"), "GET", f"/{number}")


async def started(queue, numbers, is_gone=never):
    tasks = [asyncio.ensure_future(queue.decide(question(number), is_gone, "nginx")) for number in numbers]
    await asyncio.sleep(0.05)
    return tasks


def test_those_who_wait_are_decided_together_in_their_order(slow, monkeypatch):
    sizes, may_go_on = slow
    monkeypatch.setattr(batches, "LARGEST_BATCH", 3)
    queue = BatchQueue()

    async def run():
        first = await started(queue, [0])
        others = await started(queue, [1, 2, 3, 4])
        may_go_on.set()
        await asyncio.gather(*first, *others)

    asyncio.run(run())
    queue.threads.shutdown()
    assert sizes == [["/0"], ["/1", "/2", "/3"], ["/4"]]


def test_a_full_queue_refuses_at_once(slow, monkeypatch):
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
    queue.threads.shutdown()


def test_a_client_that_went_away_while_it_waited_is_not_decided(slow):
    sizes, may_go_on = slow
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
    queue.threads.shutdown()
    assert sizes == [["/0"], ["/2"]]


def test_a_task_that_was_cancelled_does_not_keep_the_others_from_their_verdict(slow):
    _, may_go_on = slow
    queue = BatchQueue()

    async def run():
        cancelled, stays = await started(queue, [0, 1])
        cancelled.cancel()
        may_go_on.set()
        assert (await stays).allowed

    asyncio.run(run())
    queue.threads.shutdown()
