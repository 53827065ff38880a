"""A change that is committed while its hour is folded is included in the totals in any order."""

from __future__ import annotations

from datetime import timedelta
from threading import Event, Thread

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apikeys.models import KeyUsage, TouchedHour
from apikeys.usage import rollups
from apikeys.usage.analytics import TimeRange, UsageScope, totals
from tests.apikeys.usage.events import event, issue_key_to

HOUR = timedelta(hours=1)


def tokens():
    today = timezone.now().date()
    return totals(UsageScope(), TimeRange.of_days(today - timedelta(days=2), today)).tokens


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_report_committed_after_its_hour_is_folded_later(alice):
    row = event(issue_key_to(alice), 5 * HOUR, tokens_used=1)
    rollups.fold()
    KeyUsage.objects.filter(pk=row.pk).update(tokens_used=2)
    written, folded = Event(), Event()

    def report():
        with transaction.atomic():
            KeyUsage.objects.filter(pk=row.pk).update(tokens_used=3)
            written.set()
            folded.wait(60)
        connection.close()

    thread = Thread(target=report)
    thread.start()
    written.wait(60)
    assert rollups.fold() == 1
    assert tokens() == 2
    folded.set()
    thread.join()
    assert TouchedHour.objects.count() == 1
    assert tokens() == 3
    assert rollups.fold() == 1
    assert tokens() == 3


@pytest.mark.django_db(transaction=True)
def test_bulk_insert_adds_one_touched_hour(alice):
    key, at = issue_key_to(alice), timezone.now() - 5 * HOUR
    rows = [
        KeyUsage(api_key=key, user=alice, endpoint="/x", method="GET", status_code=200, created_at=at)
        for _ in range(50)
    ]
    with transaction.atomic():
        KeyUsage.objects.bulk_create(rows)
    assert TouchedHour.objects.count() == 1
