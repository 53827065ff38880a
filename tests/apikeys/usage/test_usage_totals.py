"""Totals match the ledger when events are folded, pruned, reported late or backdated."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys.models import EndpointHour, KeyUsage, TouchedHour, UsageHour
from apikeys.usage import rollups
from apikeys.usage.analytics import (
    Breakdown,
    Sums,
    TimeRange,
    UsageScope,
    add_up,
    breakdowns,
    daily_requests,
    sums_by,
    totals,
)
from config.base.models import uuid7
from tests.apikeys.usage.events import event, issue_key_to

NOW = timezone.now
HOURS = timedelta(hours=1)


def last_days(days=3):
    today = NOW().date()
    return TimeRange.of_days(today - timedelta(days=days), today)


def sums_of(rows):
    """The sums of these events, calculated in Python."""
    rows = list(rows)
    times = [row.response_time_ms for row in rows if row.response_time_ms is not None]
    return Sums(
        requests=len(rows),
        denied=sum(row.reason != "" for row in rows),
        errors=sum(row.reason == "" and row.status_code >= 400 for row in rows),
        ms_total=sum(times),
        ms_count=len(times),
        ms_max=max(times, default=0),
        tokens=sum(row.tokens_used or 0 for row in rows),
        cost=sum(row.cost_microcents or 0 for row in rows),
    )


def sums_by_group(groups, rows):
    groupers = {
        "day": lambda row: row.created_at.date(),
        "hour": lambda row: row.created_at.replace(minute=0, second=0, microsecond=0),
        "key": lambda row: row.api_key_id,
        "user": lambda row: row.user_id,
        "reason": lambda row: row.reason,
        "method": lambda row: row.method,
        "endpoint": lambda row: row.endpoint,
        "host": lambda row: row.host,
    }
    parts = {}
    for row in rows:
        parts.setdefault(tuple(groupers[name](row) for name in groups), []).append(row)
    return {group: sums_of(members) for group, members in parts.items()}


GROUPS = (
    ("day",), ("hour",), ("key",), ("user",), ("reason",), ("endpoint",), ("key", "day"), ("method", "endpoint"),
    ("day", "reason"), ("hour", "reason"), ("host",), ("key", "host", "endpoint"),
)  # fmt: skip


def assert_totals_match_the_ledger(scope=None, groupings=GROUPS, **filters):
    scope = scope or UsageScope()
    rows = list(KeyUsage.objects.filter(created_at__range=last_days(), **filters))
    assert totals(scope, last_days()) == sums_of(rows)
    for groups in groupings:
        parts = sums_by(groups, scope, last_days())
        assert dict(parts) == sums_by_group(groups, rows)
        assert add_up(sums for _, sums in parts) == sums_of(rows)


def test_totals_are_zero_without_events(db):
    assert totals(UsageScope(), last_days()) == Sums()
    assert sums_by(("day",), UsageScope(), last_days()) == []
    assert rollups.fold() == 0


def test_event_counts_before_and_after_its_hour_is_folded(alice):
    key = issue_key_to(alice)
    event(key, 5 * HOURS, response_time_ms=30, tokens_used=7, cost_microcents=11)
    event(key)
    assert_totals_match_the_ledger()
    assert rollups.fold() == 1
    assert UsageHour.objects.count() == 1
    assert_totals_match_the_ledger()


def test_current_hour_is_not_folded(alice):
    event(issue_key_to(alice))
    assert rollups.fold() == 0
    assert not UsageHour.objects.exists()


def test_folding_twice_changes_nothing(alice):
    event(issue_key_to(alice), 5 * HOURS)
    rollups.fold()
    before = list(UsageHour.objects.values())
    assert rollups.fold() == 0
    assert list(UsageHour.objects.values()) == before


def test_late_report_counts_before_and_after_the_next_fold(alice):
    key = issue_key_to(alice)
    row = event(key, 5 * HOURS)
    rollups.fold()
    KeyUsage.objects.filter(pk=row.pk).update(status_code=500, response_time_ms=120, tokens_used=9)
    assert totals(UsageScope(), last_days()).errors == 1
    assert_totals_match_the_ledger()
    assert rollups.fold() == 1
    assert not TouchedHour.objects.exists()
    assert_totals_match_the_ledger()


def test_report_for_the_current_hour_adds_no_touched_hour(alice):
    row = event(issue_key_to(alice))
    KeyUsage.objects.filter(pk=row.pk).update(tokens_used=9)
    assert not TouchedHour.objects.exists()


def test_backdated_event_counts_immediately(alice):
    key = issue_key_to(alice)
    event(key, 5 * HOURS)
    rollups.fold()
    event(key, 30 * HOURS)
    event(key, 5 * HOURS)
    assert totals(UsageScope(), last_days()).requests == 3
    assert_totals_match_the_ledger()
    rollups.fold()
    assert_totals_match_the_ledger()


def test_removed_event_no_longer_counts(alice):
    key = issue_key_to(alice)
    row = event(key, 5 * HOURS)
    event(key, 5 * HOURS)
    rollups.fold()
    row.delete()
    assert totals(UsageScope(), last_days()).requests == 1
    rollups.fold()
    assert_totals_match_the_ledger()


def test_event_moved_to_another_hour_counts_there(alice):
    row = event(issue_key_to(alice), 5 * HOURS)
    event(issue_key_to(alice), 9 * HOURS)
    rollups.fold()
    KeyUsage.objects.filter(pk=row.pk).update(created_at=NOW() - 9 * HOURS)
    assert_totals_match_the_ledger()
    rollups.fold()
    assert_totals_match_the_ledger()


def test_many_touched_hours_are_read_from_the_ledger(alice, monkeypatch):
    monkeypatch.setattr("apikeys.usage.analytics.MAX_RANGES", 1)
    key = issue_key_to(alice)
    for hours in (4, 8, 12, 16):
        event(key, hours * HOURS)
    rollups.fold()
    for hours in (8, 12):
        event(key, hours * HOURS)
    assert_totals_match_the_ledger()


def test_purging_a_key_removes_its_totals(alice, bob):
    key, other = issue_key_to(alice), issue_key_to(bob)
    event(key, 5 * HOURS)
    event(other, 5 * HOURS)
    rollups.fold()
    key.hard_delete()
    assert totals(UsageScope(), last_days()).requests == 1
    rollups.fold()
    assert_totals_match_the_ledger()


def test_pruned_events_keep_their_totals(alice):
    key = issue_key_to(alice)
    for hours in (30, 29, 2):
        event(key, hours * HOURS, tokens_used=5)
    before = totals(UsageScope(), last_days())
    assert rollups.prune(rollups.floor_to_hour(NOW() - 20 * HOURS)) == 2
    assert KeyUsage.objects.count() == 1
    assert totals(UsageScope(), last_days()) == before
    rollups.fold()
    assert totals(UsageScope(), last_days()) == before
    assert not TouchedHour.objects.exists()


def test_pruning_without_totals_removes_the_sums_too(alice):
    key = issue_key_to(alice)
    event(key, 30 * HOURS)
    event(key, 2 * HOURS)
    rollups.prune(rollups.floor_to_hour(NOW() - 20 * HOURS), keep_totals=False)
    assert totals(UsageScope(), last_days()).requests == 1
    assert EndpointHour.objects.filter(hour__lt=NOW() - 20 * HOURS).count() == 0


def test_event_backdated_into_a_pruned_hour_keeps_its_totals(alice):
    key = issue_key_to(alice)
    event(key, 30 * HOURS)
    rollups.prune(rollups.floor_to_hour(NOW() - 20 * HOURS))
    event(key, 30 * HOURS)
    rollups.fold()
    assert totals(UsageScope(), last_days()).requests == 1


def test_pruning_an_earlier_time_does_not_reset_pruned_before(alice):
    event(issue_key_to(alice), 30 * HOURS)
    rollups.prune(rollups.floor_to_hour(NOW() - 10 * HOURS))
    rollups.prune(rollups.floor_to_hour(NOW() - 20 * HOURS))
    assert rollups.fold_state().pruned_before == rollups.floor_to_hour(NOW() - 10 * HOURS)


def test_pruning_reports_each_batch(alice, monkeypatch):
    monkeypatch.setattr(rollups, "PRUNE_BATCH", 2)
    key, lines = issue_key_to(alice), []
    for _ in range(5):
        event(key, 30 * HOURS)
    rollups.prune(rollups.floor_to_hour(NOW() - 20 * HOURS), lines.append)
    assert [line for line in lines if "events" in line] == ["Removed 2 events", "Removed 4 events", "Removed 5 events"]


def test_scopes_filter_by_user_tier_key_and_endpoint(alice, bob, free):
    mine, other, foreign = issue_key_to(alice), issue_key_to(alice), issue_key_to(bob)
    for key, endpoint, count in ((mine, "/a", 3), (other, "/b", 4), (foreign, "/a", 5)):
        for number in range(count):
            event(key, (5 + number) * HOURS, endpoint=endpoint)
    for _ in range(2):
        assert totals(UsageScope(user_id=alice.pk), last_days()).requests == 7
        assert totals(UsageScope(keys=(mine.pk,)), last_days()).requests == 3
        assert totals(UsageScope(keys=()), last_days()) == Sums()
        assert totals(UsageScope(tier_id=free.pk), last_days()).requests == 12
        assert totals(UsageScope(tier_id=free.pk + 1), last_days()).requests == 0
        assert totals(UsageScope(endpoint="/a"), last_days()).requests == 8
        assert dict(sums_by(("key",), UsageScope(endpoint="/a"), last_days()))[(foreign.pk,)].requests == 5
        assert_totals_match_the_ledger(UsageScope(user_id=alice.pk), user=alice)
        rollups.fold()


def test_totals_of_many_rows_are_limited_to_the_range(alice):
    key = issue_key_to(alice)
    rows = [
        KeyUsage(
            api_key=key,
            user=alice,
            endpoint="/x",
            method="GET",
            status_code=200,
            cost_microcents=3,
            created_at=created_at,
        )
        for created_at in [NOW() - 6 * HOURS] * 250 + [NOW() - timedelta(days=9)] * 50
    ]
    KeyUsage.objects.bulk_create(rows)
    for _ in range(2):
        assert totals(UsageScope(), last_days())[:1] == (250,)
        assert totals(UsageScope(), last_days()).cost == 750
        rollups.fold()


def test_busiest_endpoints_come_first(alice):
    key = issue_key_to(alice)
    for endpoint, count in (("/rare", 1), ("/busy", 5), ("/some", 3)):
        for number in range(count):
            event(key, number * 2 * HOURS, endpoint=endpoint)
    rollups.fold()
    found = breakdowns({"top": Breakdown(("endpoint",), 2)}, UsageScope(), last_days())
    assert [(group[0], sums.requests) for group, sums in found["top"]] == [("/busy", 5), ("/some", 3)]


def test_average_only_includes_reported_times(alice):
    key = issue_key_to(alice)
    for milliseconds in (10, 30, None):
        event(key, 3 * HOURS, response_time_ms=milliseconds)
    sums = totals(UsageScope(), last_days())
    assert (sums.ms_average, sums.ms_max, sums.allowed) == (20, 30, 3)
    assert Sums().ms_average is None


def test_daily_requests_include_days_without_requests(alice):
    busy, idle = issue_key_to(alice), issue_key_to(alice)
    event(busy)
    event(busy)
    event(busy, timedelta(days=2))
    counts = daily_requests([busy.pk, idle.pk], 3)
    assert counts == {busy.pk: [1, 0, 2], idle.pk: [0, 0, 0]}


def test_interrupted_fold_continues_where_it_stopped(alice):
    key = issue_key_to(alice)
    for hours in (3, 7, 20):
        event(key, hours * HOURS)

    lines = []

    def stop_after_two(line):
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollups.fold(stop_after_two)
    assert UsageHour.objects.count() == 2
    assert_totals_match_the_ledger()
    assert rollups.fold() == 1
    assert_totals_match_the_ledger()


def test_huge_reports_are_capped_in_totals(alice):
    key = issue_key_to(alice)
    for _ in range(3):
        event(key, 5 * HOURS, tokens_used=2**63 - 1, cost_microcents=2**63 - 1)
    for _ in range(2):
        assert totals(UsageScope(), last_days()).tokens == 3 * rollups.MAX_PER_EVENT
        rollups.fold()


def test_events_of_a_purged_key_are_folded(alice):
    key = issue_key_to(alice)
    event(key, 5 * HOURS)
    KeyUsage.objects.update(api_key_id=uuid7(), user_id=alice.pk + 1000)
    assert rollups.fold() == 1
    assert_totals_match_the_ledger()


EVENTS = st.fixed_dictionaries(
    {
        "ago": st.integers(0, 60).map(lambda hours: hours * HOURS),
        "status_code": st.sampled_from([200, 204, 404, 500]),
        "reason": st.sampled_from(["", "", "rate_limited", "permission_denied"]),
        "endpoint": st.sampled_from(["/a", "/b/1", "/b/2"]),
        "method": st.sampled_from(["GET", "POST"]),
        "host": st.sampled_from(["", "api.example.com", "sandbox.example.com"]),
        "tokens_used": st.none() | st.integers(0, 10**9),
        "cost_microcents": st.none() | st.integers(0, 10**12),
        "response_time_ms": st.none() | st.integers(0, 10**6),
    }
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(EVENTS, min_size=1, max_size=5)),
        st.tuples(st.just("report"), st.integers(0, 30)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("fold"), st.none()),
        # As a release without hosts does.
        st.tuples(st.just("forget hosts"), st.none()),
    ),
    max_size=8,
)


@given(steps=STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_totals_always_equal_the_ledger(alice, bob, steps):
    KeyUsage.objects.all().delete()
    keys = [issue_key_to(alice), issue_key_to(bob)]
    for step, detail in steps:
        rows = list(KeyUsage.objects.order_by("pk"))
        if step == "add":
            for number, fields in enumerate(detail):
                event(keys[number % 2], **fields)
        elif step == "fold":
            rollups.fold()
        elif step == "forget hosts":
            EndpointHour.objects.update(host=None)
        elif rows:
            one = KeyUsage.objects.filter(pk=rows[detail % len(rows)].pk)
            one.update(status_code=503, tokens_used=1) if step == "report" else one.delete()
        assert_totals_match_the_ledger(groupings=GROUPS[:1])
    assert_totals_match_the_ledger()
