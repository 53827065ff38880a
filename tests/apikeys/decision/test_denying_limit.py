"""The row of a rate limited request keeps the limit that denied it, as it was at that time."""

from __future__ import annotations

import pytest
from django.db import DatabaseError

from apikeys.decision import ledger
from apikeys.models import KeyUsage
from tests.rows import make_key, make_limit

pytestmark = pytest.mark.django_db(transaction=True)


def ask(verify, key, times=1, path="/search"):
    return [verify(key=key.secret, method="POST", path=path)["status"] for _ in range(times)]


def test_row_keeps_the_limit_as_it_was(verify, alice, free):
    limit = make_limit(free, "/search", name="free-4", limit=1, period=3600)
    make_limit(free, "/search", name="wide", limit=100, period=7200)
    assert ask(verify, make_key(alice), 2) == [200, 429]
    limit.name, limit.limit = "renamed", 500
    limit.save()
    denied, allowed = KeyUsage.objects.get(status_code=429), KeyUsage.objects.get(status_code=200)
    assert denied.denied_by == {"name": "free-4", "rate": "1 per hour", "retry_after": 3600}
    assert denied.limit_in_words == "free-4: 1 per hour used up, retry after 60 minutes"
    assert (allowed.denied_by, allowed.limit_in_words) == (None, "")


def test_row_names_the_keys_own_limit(verify, alice):
    key = make_key(alice, rate_limit=1, rate_period=60)
    ask(verify, key, 2)
    assert KeyUsage.objects.get(status_code=429).denied_by["name"] == "key"


def test_row_does_not_name_an_observed_limit(verify, alice, free):
    make_limit(free, "/search", limit=1, period=3600, mode="observe")
    make_limit(free, "/search", name="enforced", limit=2, period=7200)
    assert ask(verify, make_key(alice), 3) == [200, 200, 429]
    assert KeyUsage.objects.get(status_code=429).denied_by["name"] == "enforced"
    assert KeyUsage.objects.filter(denied_by__isnull=False).count() == 1


def test_row_denied_for_another_reason_has_no_limit(verify, alice):
    ask(verify, make_key(alice, allow=("read /other",)))
    assert KeyUsage.objects.get().denied_by is None


def test_failure_to_write_the_limit_keeps_the_verdict(verify, alice, free, monkeypatch, caplog):
    def fail(*_):
        raise DatabaseError("disk full")

    monkeypatch.setattr(ledger, "note_denials", fail)
    make_limit(free, "/search", limit=1, period=3600)
    assert ask(verify, make_key(alice), 2) == [200, 429]
    assert "could not be written" in caplog.text
