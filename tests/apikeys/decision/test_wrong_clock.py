"""What a node's own clock decides, if it's wrong: not limits or the times of events, but the end of a key (docs/reliability.md)."""

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
def node(monkeypatch):
    """Sets this node's clock; returns what time it really is."""

    def node(wrong_by):
        right = timezone.now()
        monkeypatch.setattr(timezone, "now", lambda: right + wrong_by)
        return right

    return node


def decided(key):
    return decide(Facts(Credential(key.secret), "GET", "/orders/7"))


@EITHER_WAY
@pytest.mark.parametrize("window", ["rolling", "week"])
def test_limits_and_times_of_events_are_the_databases(key, free, node, window, wrong_by):
    make_limit(free, "/orders/*", limit=1, period=600, window=window)
    assert decided(key).allowed
    right = node(wrong_by)
    assert decided(key).reason == "rate_limited"
    assert {abs(row.created_at - right) < SHORTLY for row in KeyUsage.objects.all()} == {True}


@EITHER_WAY
def test_when_a_key_ends_is_the_nodes(key, node, wrong_by):
    right = node(wrong_by)
    APIKey.objects.filter(pk=key.pk).update(expires_at=right + wrong_by / 2)
    assert decided(key).reason == ("expired_key" if wrong_by > dt.timedelta(0) else "")
