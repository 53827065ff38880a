"""POST /authz/usage: only the first report of an event counts; later ones change nothing."""

from __future__ import annotations

import json
import uuid
from random import Random

import pytest
from django.db.models import Sum

from apikeys.models import KeyUsage
from tests.apikeys.conftest import make_key

REPORT = {
    "status_code": 502,
    "response_time_ms": 120,
    "tokens_used": 1500,
    "cost_microcents": 2**40,
    "error_message": "upstream closed",
    "metadata": {"model": "large", "nested": [1, 2.5, None, "é"]},
}


@pytest.fixture
def report(client):
    def report(body, **options):
        return client.post("/authz/usage", json.dumps(body), content_type="application/json", **options)

    return report


@pytest.fixture
def event(verify, key):
    return lambda: verify(key=key.secret, method="GET", path="/orders")["event_id"]


def test_report_completes_its_event(report, event):
    event_id = event()
    answer = report([{"event_id": event_id, **REPORT}])
    assert (answer.status_code, answer.json()) == (200, {"recorded": 1, "unchanged": 0, "unknown": []})
    row = KeyUsage.objects.get()
    assert {name: getattr(row, name) for name in REPORT} == REPORT
    assert row.reason == ""
    assert row.reported_at >= row.created_at
    assert row.updated_at == row.reported_at


def test_report_may_consist_of_an_event_id(report, event):
    assert report({"events": [{"event_id": event()}]}).json()["recorded"] == 1
    row = KeyUsage.objects.get()
    assert (row.status_code, row.tokens_used, row.error_message, row.metadata) == (200, None, "", None)


def test_null_counts_as_missing(report, event):
    assert report([{"event_id": event(), **dict.fromkeys(REPORT)}]).json()["recorded"] == 1
    assert KeyUsage.objects.get().status_code == 200


def test_replaying_in_any_order_changes_nothing(report, event):
    reports = [{"event_id": event(), "tokens_used": number} for number in range(1, 21)]
    assert report(reports).json()["recorded"] == 20
    shuffled = reports * 3
    Random(7).shuffle(shuffled)
    for start in range(0, 60, 7):
        batch = shuffled[start : start + 7]
        assert report(batch).json() == {"recorded": 0, "unchanged": len(batch), "unknown": []}
    assert KeyUsage.objects.aggregate(total=Sum("tokens_used"))["total"] == sum(range(1, 21))


def test_second_report_with_other_figures_changes_nothing(report, event):
    event_id = event()
    report([{"event_id": event_id, "tokens_used": 10}])
    answer = report([{"event_id": event_id, "tokens_used": 99, "status_code": 500}])
    assert answer.json() == {"recorded": 0, "unchanged": 1, "unknown": []}
    row = KeyUsage.objects.get()
    assert (row.tokens_used, row.status_code) == (10, 200)


def test_within_a_batch_the_first_report_of_an_event_counts(report, event):
    event_id = event()
    answer = report([{"event_id": event_id, "tokens_used": 10}, {"event_id": event_id.upper(), "tokens_used": 20}])
    assert answer.json() == {"recorded": 1, "unchanged": 1, "unknown": []}
    assert KeyUsage.objects.get().tokens_used == 10


def test_report_does_not_change_a_denied_event(report, verify, alice, counters):
    key = make_key(alice, allow=[])
    event_id = verify(key=key.secret, method="GET", path="/orders")["event_id"]
    answer = report([{"event_id": event_id, "status_code": 200, "tokens_used": 5}])
    assert answer.json() == {"recorded": 0, "unchanged": 1, "unknown": []}
    assert KeyUsage.objects.get().status_code == 403


def test_unknown_events_are_listed_and_the_others_recorded(report, event):
    unknown_id = str(uuid.uuid4())
    answer = report([{"event_id": unknown_id}, {"event_id": event(), "tokens_used": 1}])
    assert answer.json() == {"recorded": 1, "unchanged": 0, "unknown": [unknown_id]}


def test_repeated_unknown_event_is_not_counted_as_unchanged(report, db):
    unknown_id = str(uuid.uuid4())
    answer = report([{"event_id": unknown_id}] * 2)
    assert answer.json() == {"recorded": 0, "unchanged": 0, "unknown": [unknown_id]}


def test_empty_batch_is_accepted(report, db):
    assert report([]).json() == {"recorded": 0, "unchanged": 0, "unknown": []}


def test_batch_is_limited_to_1000_events(report, event, django_assert_max_num_queries):
    known = event()
    batch = [{"event_id": str(uuid.uuid4())} for _ in range(999)] + [{"event_id": known, "tokens_used": 3}]
    assert report(batch).json()["recorded"] == 1
    assert report([*batch, batch[0]]).status_code == 400


def test_invalid_event_rejects_the_whole_batch(report, event):
    event_id = event()
    answer = report([{"event_id": event_id, "tokens_used": 1}, {"event_id": event_id, "status_code": 99}])
    assert answer.status_code == 400
    assert answer.json()["detail"] == "Event 1: status_code must be a whole number from 100 to 599."
    assert KeyUsage.objects.get().reported_at is None


ID = str(uuid.uuid4())
INVALID = {
    "text": "x",
    "number": 1,
    "other object": {"event": []},
    "events as text": {"events": "x"},
    "no events": {},
    "events null": {"events": None},
    "item as text": ["x"],
    "no id": [{"tokens_used": 1}],
    "id null": [{"event_id": None}],
    "bad id": [{"event_id": "x"}],
    "id as number": [{"event_id": 1}],
    "id as list": [{"event_id": [ID]}],
    "unknown field": [{"event_id": ID, "tokens": 1}],
    "status 600": [{"event_id": ID, "status_code": 600}],
    "status true": [{"event_id": ID, "status_code": True}],
    "negative tokens": [{"event_id": ID, "tokens_used": -1}],
    "huge tokens": [{"event_id": ID, "tokens_used": 2**63}],
    "negative cost": [{"event_id": ID, "cost_microcents": -1}],
    "huge time": [{"event_id": ID, "response_time_ms": 2**31}],
    "half a millisecond": [{"event_id": ID, "response_time_ms": 0.5}],
    "long message": [{"event_id": ID, "error_message": "x" * 2001}],
    "metadata as list": [{"event_id": ID, "metadata": []}],
    "metadata too long": [{"event_id": ID, "metadata": {"a": "x" * 10_000}}],
    "NUL in metadata": [{"event_id": ID, "metadata": {"a": "\0"}}],
    "half a pair in metadata": [{"event_id": ID, "metadata": {"a": "\ud800"}}],
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
def test_invalid_batch_gets_a_400_with_detail(report, body):
    response = report(body)
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert response.json()["detail"]


def test_infinite_number_in_metadata_is_rejected(client, event):
    body = json.dumps([{"event_id": event(), "metadata": {"a": [0.5]}}]).replace("0.5", "1e309")
    response = client.post("/authz/usage", body, content_type="application/json")
    assert response.status_code == 400
    assert "in the range of a float" in response.json()["detail"]
    assert KeyUsage.objects.get().metadata is None


def test_largest_figures_are_stored(report, event):
    largest = {"tokens_used": 2**63 - 1, "cost_microcents": 2**63 - 1, "response_time_ms": 2**31 - 1}
    assert report([{"event_id": event(), **largest}]).json()["recorded"] == 1
    row = KeyUsage.objects.get()
    assert {name: getattr(row, name) for name in largest} == largest


def test_invalid_characters_in_text_are_removed(report, event):
    body = [{"event_id": event(), "error_message": "a\0b\ud800c"}]
    assert report(body).json()["recorded"] == 1
    assert "\0" not in KeyUsage.objects.get().error_message
