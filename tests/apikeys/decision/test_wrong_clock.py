"""A node's wrong clock doesn't affect limits or times of events, but decides when a key expires (docs/reliability.md)."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import decide
from apikeys.models import APIKey, KeyUsage
from tests.rows import make_limit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("counters")]
HOUR, SHORTLY = dt.timedelta(hours=1), dt.timedelta(minutes=20)
EITHER_WAY = pytest.mark.parametrize("wrong_by", [-HOUR, HOUR])


@pytest.fixture
def set_node_clock(monkeypatch):
    """Set this node's clock; returns the actual time."""

    def set_node_clock(wrong_by):
        actual = timezone.now()
        monkeypatch.setattr(timezone, "now", lambda: actual + wrong_by)
        return actual

    return set_node_clock


def decide_request(key):
    return decide(Facts(Credential(key.secret), "GET", "/orders/7"))


@EITHER_WAY
@pytest.mark.parametrize("window", ["rolling", "week"])
def test_limits_and_event_times_use_the_databases_clock(key, free, set_node_clock, window, wrong_by):
    make_limit(free, "/orders/*", limit=1, period=600, window=window)
    assert decide_request(key).allowed
    actual = set_node_clock(wrong_by)
    assert decide_request(key).reason == "rate_limited"
    assert {abs(row.created_at - actual) < SHORTLY for row in KeyUsage.objects.all()} == {True}


@EITHER_WAY
def test_key_expiry_uses_the_nodes_clock(key, set_node_clock, wrong_by):
    actual = set_node_clock(wrong_by)
    APIKey.objects.filter(pk=key.pk).update(expires_at=actual + wrong_by / 2)
    assert decide_request(key).reason == ("expired_key" if wrong_by > dt.timedelta(0) else "")
