"""Limits in tokens and cost are checked before a request and charged when its usage is reported, once per event."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest
from django.core.management import call_command
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from apikeys.gateway.usage_report import record
from apikeys.models import KeyUsage
from ratelimits.budgets import Budget, microseconds
from ratelimits.limiter import limiter
from ratelimits.models import Balance, Denial, RateLimit
from ratelimits.recorder import recorder
from ratelimits.stores import balances
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import call, gatehouse, workers_of
from tests.parallel import in_parallel
from tests.waiting import wait_until

CHAT = {"path": "/chat", "window": "month"}


@pytest.fixture
def tokens(free):
    return RateLimit.objects.create(tier=free, name="tokens", unit="tokens", limit=1000, **CHAT)


@pytest.fixture
def report(client):
    def report(*events, **figures):
        body = [{"event_id": event, **figures} for event in events]
        response = client.post("/authz/usage", json.dumps(body), content_type="application/json")
        assert response.status_code == 200, response.content
        return response.json()

    return report


@pytest.fixture
def chat(verify, key):
    return lambda **question: verify(key=key.secret, method="POST", path="/chat", **question)


def remaining_by_name(answer):
    return {limit["name"]: limit["remaining"] for limit in answer["limits"]}


def test_report_is_charged_in_its_unit(ask, key, tokens, report):
    allowed = ask(key.secret, uri="/chat")
    assert allowed.headers["RateLimit-Policy"].startswith('"tokens";q=1000;qu="tokens";w=2')
    assert allowed.headers["RateLimit"].startswith('"tokens";r=1000;t=')
    report(allowed.headers["X-Auth-Event-Id"], tokens_used=300)
    assert ask(key.secret, uri="/chat").headers["RateLimit"].startswith('"tokens";r=700;t=')


def test_repeated_report_is_not_charged_again(chat, tokens, report):
    event = chat()["event_id"]
    assert report(event, event, tokens_used=300)["recorded"] == 1
    assert report(event, tokens_used=300) == {"recorded": 0, "unchanged": 1, "unknown": []}
    assert remaining_by_name(chat()) == {"tokens": 700}


def test_used_up_tokens_deny_the_next_request_without_charging_other_limits(chat, tokens, report, free):
    RateLimit.objects.create(tier=free, name="requests", path="/chat", limit=10, period=60)
    first, second = chat(), chat()
    report(first["event_id"], second["event_id"], tokens_used=900)
    denied = [chat(), chat()][1]
    assert (denied["status"], denied["reason"]) == (429, "rate_limited")
    assert remaining_by_name(denied) == {"requests": 8, "tokens": 0}
    assert Balance.objects.get().used == 1800
    row = KeyUsage.objects.order_by("-pk").first()
    assert (row.status_code, row.rate_limit_id) == (429, tokens.pk)
    recorder.flush()
    assert Denial.objects.values_list("name", "unit", "count").get() == ("tokens", "tokens", 2)


def test_one_remaining_token_is_enough_for_a_request(chat, tokens, report):
    report(chat()["event_id"], tokens_used=999)
    last = chat()
    assert (last["allowed"], remaining_by_name(last)) == (True, {"tokens": 1})
    report(last["event_id"], tokens_used=1)
    assert not chat()["allowed"]


def test_request_with_cost_0_is_allowed(chat, tokens, report):
    report(chat()["event_id"], tokens_used=2000)
    look = chat(cost=0)
    assert (look["allowed"], remaining_by_name(look)) == (True, {"tokens": 0})


def test_report_for_a_denied_request_is_not_charged(chat, tokens, report):
    report(chat()["event_id"], tokens_used=1000)
    report(chat()["event_id"], tokens_used=5)
    assert Balance.objects.get().used == 1000


def test_report_is_charged_to_the_window_in_which_it_is_sent(chat, tokens, report, monkeypatch):
    def set_clock(*date):
        now = microseconds(dt.datetime(*date, tzinfo=dt.UTC))
        monkeypatch.setattr(balances, "machine_clock", lambda: now)

    set_clock(2026, 1, 31, 23, 59)
    report(chat()["event_id"], tokens_used=1000)
    assert not chat()["allowed"]
    set_clock(2026, 2, 1)
    answer = chat()
    assert remaining_by_name(answer) == {"tokens": 1000}
    report(answer["event_id"], tokens_used=1)
    assert remaining_by_name(chat()) == {"tokens": 999}


def test_tokens_and_cost_are_charged_separately(chat, tokens, report, free):
    RateLimit.objects.create(tier=free, name="cost", unit="microcents", limit=10**10, **CHAT)
    RateLimit.objects.create(tier=free, name="all", unit="tokens", limit=5000, window="week", path="/*", overall=True)
    report(chat()["event_id"], tokens_used=10, cost_microcents=2 * 10**10)
    assert remaining_by_name(chat()) == {"tokens": 990, "cost": 0, "all": 4990}


def test_observed_token_limit_never_denies(chat, report, free):
    RateLimit.objects.create(tier=free, name="watched", unit="tokens", limit=1, mode="observe", **CHAT)
    report(chat()["event_id"], tokens_used=5)
    assert chat()["allowed"]
    recorder.flush()
    assert Denial.objects.values_list("name", "observed").get() == ("watched", True)


def test_huge_amounts_do_not_overflow(chat, tokens, report):
    events = [chat()["event_id"] for _ in range(3)]
    assert report(*events, tokens_used=2**63 - 1)["recorded"] == 3
    assert Balance.objects.get().used == 2**63 - 1


def test_figures_without_a_limit_create_no_balance(verify, key, tokens, report):
    event = verify(key=key.secret, method="GET", path="/elsewhere")["event_id"]
    other = verify(key=key.secret, method="GET", path="/chat")["event_id"]
    assert report(event, tokens_used=5)["recorded"] == report(other, cost_microcents=5)["recorded"] == 1
    assert not Balance.objects.exists()


def test_named_resource_is_charged_like_its_path(verify, key, tokens, report):
    event = verify(key=key.secret, resource="chat", action="create")["event_id"]
    report(event, tokens_used=5)
    assert Balance.objects.get().used == 5


def test_own_limit_is_charged_instead_of_the_tiers(chat, tokens, report, alice, bob, verify):
    RateLimit.objects.create(user=alice, name="own", unit="tokens", limit=50, path="/chat", window="total")
    report(chat()["event_id"], tokens_used=30)
    bobs = make_key(bob).secret
    report(verify(key=bobs, method="POST", path="/chat")["event_id"], tokens_used=7)
    assert remaining_by_name(chat()) == {"own": 20}
    assert remaining_by_name(verify(key=bobs, method="POST", path="/chat")) == {"tokens": 993}


def test_top_up_of_tokens_allows_the_next_request(chat, report, alice):
    limit = RateLimit.objects.create(user=alice, name="prepaid", unit="tokens", limit=50, path="/chat", window="total")
    report(chat()["event_id"], tokens_used=80)
    assert not chat()["allowed"]
    call_command("top_up", "alice", "prepaid", "30")
    assert not chat()["allowed"]
    call_command("top_up", "alice", "prepaid", "1")
    assert remaining_by_name(chat()) == {"prepaid": 1}
    limit.delete()
    assert remaining_by_name(chat()) == {"default": 99}


def test_top_up_of_requests_allows_the_next_request(chat, alice):
    RateLimit.objects.create(user=alice, name="prepaid", limit=2, path="/chat", window="total")
    assert [chat()["allowed"] for _ in range(3)] == [True, True, False]
    call_command("top_up", "alice", "prepaid", "1")
    assert [chat()["allowed"] for _ in range(2)] == [True, False]


def test_default_tier_is_charged_after_the_users_tier_ended(chat, pro, alice, report, tokens):
    event = chat()["event_id"]
    User.objects.filter(pk=alice.pk).update(tier=pro, tier_until=timezone.now())
    report(event, tokens_used=7)
    assert remaining_by_name(chat()) == {"tokens": 993}


def test_events_of_a_purged_user_are_not_charged(chat, tokens, report, alice):
    event = chat()["event_id"]
    KeyUsage.objects.update(user_id=0)
    assert report(event, tokens_used=7)["recorded"] == 1
    assert not Balance.objects.exists()


def test_staff_can_reset_balances(chat, tokens, report, alice, staff_client):
    report(chat()["event_id"], tokens_used=2000)
    assert not chat()["allowed"]
    recorder.flush()
    staff_client.post("/admin/ratelimits/limited/reset/", {"owner": f"user:{alice.pk}"})
    assert chat()["allowed"]


def test_balances_of_past_windows_are_removed(db):
    past = Budget("a", 10, 60, "week", unit="tokens")
    balances.charge_reports({past: 5}, clock=microseconds(dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
    balances.charge_reports({past._replace(key="b"): 5, past._replace(key="c", window="total"): 5})
    assert balances.sweep_balances() == 1
    assert set(Balance.objects.values_list("key", flat=True)) == {"b", "c"}


def test_remaining_tokens_can_be_read_without_a_request(alice, tokens, settings):
    budget = tokens.budget(f"user:{alice.pk}")
    requests = Budget("r", 5, 60, name="requests")
    balances.charge_reports({budget: 400})
    states = limiter().peek([budget, requests]).states
    assert [(state.budget.name, state.remaining, state.in_words) for state in states] == [
        ("tokens", 600, "600 of 1,000 tokens"),
        ("requests", 5, "5 of 5"),
    ]
    settings.RATE_LIMITER_ENABLED = False
    assert limiter().hit([budget]).allowed


def events_of(user, count):
    key = make_key(user)
    rows = [
        KeyUsage(api_key=key, user=user, endpoint="/chat", method="POST", status_code=200, reason="")
        for _ in range(count)
    ]
    return KeyUsage.objects.bulk_create(rows)


@pytest.mark.django_db(transaction=True)
def test_concurrent_batches_with_the_same_events_are_charged_once(tokens, alice, counters):
    events = events_of(alice, 200)

    def send(number):
        # Each event is in two of the batches.
        part = [*events, *events][number * 50 : number * 50 + 50]
        return record([{"event_id": event.pk, "tokens_used": 3} for event in part[::-1]])["recorded"]

    assert sum(in_parallel(8, send)) == 200
    assert Balance.objects.get().used == 600


@pytest.mark.django_db(transaction=True)
def test_balance_equals_reported_usage_after_a_worker_is_killed(tokens, alice, counters, tmp_path):
    """1,000 reports, 100 of them sent twice."""
    RateLimit.objects.filter(pk=tokens.pk).update(limit=10**9)
    events = events_of(alice, 1000)
    reports = [{"event_id": str(event.pk), "tokens_used": number} for number, event in enumerate(events, 1)]
    batches = [[*reports[start : start + 10], reports[start - 1]] for start in range(0, 1000, 10)]
    with gatehouse(tmp_path, workers=2) as server:

        def send(number):
            if number == 50:
                os.kill(workers_of(server).pop(), signal.SIGKILL)
            body = json.dumps(batches[number]).encode()
            wait_until(lambda: is_acknowledged(server.port, body))

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(send, range(100)))
    assert KeyUsage.objects.aggregate(sum=Sum("tokens_used"))["sum"] == sum(range(1, 1001))
    assert Balance.objects.get().used == sum(range(1, 1001))


def is_acknowledged(port, body):
    try:
        headers = {"Content-Type": "application/json"}
        return call(port, "POST", "/authz/usage", headers=headers, body=body).status == 200
    except (OSError, HTTPException):
        return False
