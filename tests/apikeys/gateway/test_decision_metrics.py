"""/metrics counts decisions by gateway and reason."""

from __future__ import annotations

import json
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from apikeys.gateway import observed
from config.base.metrics import BatchHistogram
from ratelimits.limiter import forget_limiter
from tests.apikeys.conftest import ask_as
from tests.apikeys.gateway.asgi import ask_asgi
from tests.apikeys.gateway.servers import call, gatehouse, workers_of
from tests.metrics import Increase, samples, scrape
from tests.rows import make_key
from tests.waiting import wait_until

DECISIONS = "gatehouse_decisions_total"


@pytest.mark.parametrize("dialect", ["nginx", "traefik", "caddy", "envoy"])
def test_each_gateway_is_counted_by_name(client, key, dialect):
    since = Increase(client)
    ask_as(client, dialect, key)
    assert since(DECISIONS, dialect, "allowed") == 1


def test_every_decision_counts_once_with_its_reason(client, ask, verify, alice, counters):
    key = make_key(alice, rate_limit=1, rate_period=60)
    since = Increase(client)
    ask(key.secret)
    ask(key.secret)
    ask(None)
    verify(key="nonsense", method="GET", path="/orders")
    client.get("/api/v1/whoami", headers={"X-API-Key": key.secret})
    assert since(DECISIONS, "nginx", "allowed") == 1
    assert since(DECISIONS, "nginx", "rate_limited") == 1
    assert since(DECISIONS, "nginx", "missing_key") == 1
    assert since(DECISIONS, "verify", "malformed_key") == 1
    assert since(DECISIONS, "in-process", "rate_limited") == 1
    assert since("gatehouse_decision_seconds_count") == since("gatehouse_batch_size_count") == 5
    assert since("gatehouse_decision_seconds_sum") > 0
    assert since("gatehouse_database_seconds_count", "look_up") == 3


def test_error_counts_as_unavailable(client, ask, key, monkeypatch):
    since = Increase(client)
    monkeypatch.setattr("apikeys.decision.decide.find_keys", lambda secrets: 1 / 0)
    ask(key.secret)
    client.get("/api/v1/whoami", headers={"X-API-Key": key.secret})
    monkeypatch.setattr("apikeys.gateway.dialects.plain_address", lambda text: 1 / 0)
    ask(key.secret)
    client.get("/authz/openapi.json")
    assert since(DECISIONS, "nginx", "unavailable") == 2
    assert since(DECISIONS, "in-process", "unavailable") == 1


def test_requests_cannot_add_label_values(client, ask, key):
    scrape(client)
    for odd in ("DELETE", "BREW", "x" * 20):
        ask(key.secret, method=odd, uri=f"/{odd}", address=odd)
        client.get(f"/authz/{odd}")
        client.get(f"/authz/envoy/{odd}", headers={"X-API-Key": odd, "User-Agent": odd})
    labels = {value for _, *values in scrape(client) for value in values}
    assert not labels & {"DELETE", "BREW", "x" * 20}
    assert {name for (metric, name, *_) in filter(lambda each: each[0] == DECISIONS, scrape(client))} == set(
        observed.GATEWAYS
    )


@pytest.mark.django_db(transaction=True)
def test_event_loop_decisions_and_disconnected_clients_are_counted(client, key):
    headers = [("X-Original-Method", "GET"), ("X-Original-URI", "/orders"), ("X-API-Key", key.secret)]
    since = Increase(client)
    ask_asgi("/authz/nginx", headers)
    ask_asgi("/authz/nginx", headers[:2])
    ask_asgi("/authz/nginx", headers, extensions={"gatehouse.is_closed": lambda: True})
    assert since(DECISIONS, "nginx", "allowed") == 1
    assert since(DECISIONS, "nginx", "missing_key") == 1
    assert since(DECISIONS, "nginx", "client_gone") == 1
    assert scrape(client)["gatehouse_queue_depth",] == 0


@pytest.mark.django_db(transaction=True)
def test_full_queue_counts_as_busy(client, key, monkeypatch):
    monkeypatch.setattr("apikeys.gateway.batches.MOST_WAITING", 0)
    since = Increase(client)
    headers = [("X-Original-Method", "GET"), ("X-Original-URI", "/orders"), ("X-API-Key", key.secret)]
    assert ask_asgi("/authz/nginx", headers)[0] == "503 Service Unavailable"
    assert since(DECISIONS, "nginx", "busy") == 1


@pytest.mark.django_db(transaction=True)
def test_error_in_metrics_keeps_the_verdict(key, monkeypatch):
    monkeypatch.setattr(observed, "observe", lambda *given: 1 / 0)
    headers = [("X-Original-Method", "GET"), ("X-Original-URI", "/orders"), ("X-API-Key", key.secret)]
    assert ask_asgi("/authz/nginx", headers)[0] == "200 OK"


def test_usage_reports_are_counted_by_result(client, ask, key):
    event = ask(key.secret)["X-Auth-Event-Id"]
    since = Increase(client)
    for events in ([event, str(uuid.uuid4())], [event]):
        body = json.dumps([{"event_id": each, "tokens_used": 5} for each in events])
        client.post("/authz/usage", body, content_type="application/json")
    assert [since("gatehouse_usage_reports_total", result) for result in ("recorded", "unknown", "unchanged")] == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(("fail_open", "outcome"), [(True, "allowed"), (False, "denied")])
def test_unavailable_store_is_counted(client, ask, key, settings, fail_open, outcome):
    settings.REDIS_URL, settings.RATE_LIMIT_STORE = "redis://127.0.0.1:1/0", "redis"
    settings.RATE_LIMIT_FAIL_OPEN = fail_open
    forget_limiter()
    since = Increase(client)
    ask(key.secret)
    ask(key.secret)
    assert since("gatehouse_limiter_store_errors_total", outcome, "redis") == 2
    assert scrape(client)["gatehouse_limiter_breaker_open",] == 1
    forget_limiter()
    wait_until(lambda: scrape(client)["gatehouse_limiter_breaker_open",] == 0)


def test_observe_all_equals_single_observations():
    values = [0.0004, 0.001, 0.0011, 0.3, 0.3, 99]
    together, alone = (BatchHistogram("t", "t", registry=None) for _ in range(2))
    together.observe_all(values)
    for value in values:
        alone.observe(value)
    assert [sample.value for sample in together._samples() if not sample.name.endswith("_created")] == [
        sample.value for sample in alone._samples() if not sample.name.endswith("_created")
    ]


HEADERS = {"X-Original-Method": "GET", "X-Original-URI": "/orders", "X-Real-IP": "203.0.113.9"}


@pytest.mark.django_db(transaction=True)
def test_metrics_of_all_workers_are_added_and_survive_restarts(alice, tmp_path):
    headers = HEADERS | {"X-API-Key": make_key(alice).secret}
    with gatehouse(tmp_path, workers=3) as server:
        ask_concurrently(server.port, headers, 20)
        assert scrape_server(server)[DECISIONS, "nginx", "allowed"] == 20
        first = workers_of(server)
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: are_replaced(server, first))
        ask_concurrently(server.port, headers, 5)
        second = workers_of(server)
        for pid in second:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: are_replaced(server, second))
        ask_concurrently(server.port, headers, 1)
        seen = scrape_server(server)
    assert seen[DECISIONS, "nginx", "allowed"] == seen["gatehouse_decision_seconds_count",] == 26
    assert seen["gatehouse_queue_depth",] == 0


def scrape_server(server):
    return samples(call(server.port, path="/metrics").body.decode())


def ask_concurrently(port, headers, number):
    with ThreadPoolExecutor(number) as threads:
        answers = [threads.submit(call, port, path="/authz/nginx", headers=headers) for _ in range(number)]
    assert {answer.result().status for answer in answers} == {200}


def are_replaced(server, workers):
    return len(workers_of(server)) == len(workers) and not workers_of(server) & workers
