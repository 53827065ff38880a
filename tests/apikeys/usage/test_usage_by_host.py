"""Totals by host match the ledger, even for hours that a release without hosts has folded."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from apikeys.models import EndpointHour, KeyUsage
from apikeys.usage import rollups
from apikeys.usage.analytics import Breakdown, TimeRange, UsageScope, breakdowns, sums_by, totals
from tests.apikeys.usage.events import event, issue_key_to
from tests.apikeys.usage.test_usage_pages import ACCOUNT, HOUR, STAFF, lines, stats, table, text
from tests.rows import make_user

API, SANDBOX = "api.example.com", "sandbox.example.com"


def last_days():
    return TimeRange.of_last_days(4)


def by_host(scope=None):
    return {host: sums.requests for (host,), sums in sums_by(("host",), scope or UsageScope(), last_days())}


@pytest.fixture
def both_hosts(alice):
    """/orders: 3 at the API, 2 at the sandbox, one with a status of 500; /bills: 1 at the API, 1 without a host."""
    key = issue_key_to(alice)
    for host, endpoint, count in ((API, "/orders", 3), (SANDBOX, "/orders", 2), (API, "/bills", 1), ("", "/bills", 1)):
        for number in range(count):
            event(key, (5 + number) * HOUR, host=host, endpoint=endpoint, tokens_used=10, response_time_ms=number)
    return key


def fold_as_the_previous_release():
    """The previous release stored one row for all hosts and left the new column empty."""
    rollups.fold()
    hours = sorted(set(EndpointHour.objects.values_list("hour", flat=True)))
    sums = [
        (hour, sums_by(("key", "user", "reason", "method", "endpoint"), UsageScope(), of_hour(hour))) for hour in hours
    ]
    EndpointHour.objects.all()._raw_delete("default")
    for hour, rows in sums:
        for (key, user, reason, method, endpoint), figures in rows:
            EndpointHour.objects.create(
                hour=hour, api_key_id=key, user_id=user, reason=reason, method=method, endpoint=endpoint,
                **figures._asdict(),
            )  # fmt: skip


def of_hour(hour):
    return TimeRange(hour, hour + HOUR)


@pytest.mark.parametrize("folded", [False, True])
def test_hosts_are_counted_separately(both_hosts, folded):
    if folded:
        rollups.fold()
    assert by_host() == {API: 4, SANDBOX: 2, "": 1}
    assert totals(UsageScope(host=API), last_days()).requests == 4
    assert totals(UsageScope(host=SANDBOX, endpoint="/orders"), last_days()).tokens == 20
    busiest = {"endpoint": Breakdown(("endpoint", "host"), 1), "host": Breakdown(("host",), 2)}
    found = breakdowns(busiest, UsageScope(), last_days())
    assert [(group, sums.requests) for group, sums in found["endpoint"]] == [(("/orders", API), 3)]
    assert [(group, sums.requests) for group, sums in found["host"]] == [((API,), 4), ((SANDBOX,), 2)]
    assert len(breakdowns(busiest, UsageScope(host=API), last_days())["host"]) == 1
    assert breakdowns(busiest, UsageScope(keys=()), last_days()) == {"endpoint": [], "host": []}


def test_hours_folded_by_the_previous_release_are_folded_again(both_hosts):
    fold_as_the_previous_release()
    assert set(EndpointHour.objects.values_list("host", flat=True)) == {None}
    assert by_host() == {API: 4, SANDBOX: 2, "": 1}
    assert by_host(UsageScope(endpoint="/bills")) == {API: 1, "": 1}
    assert totals(UsageScope(endpoint="/orders"), last_days()).requests == 5
    assert rollups.fold() == 3
    assert None not in EndpointHour.objects.values_list("host", flat=True)
    assert by_host() == {API: 4, SANDBOX: 2, "": 1}
    assert rollups.fold() == 0


def test_newest_hours_are_folded_again_first(both_hosts):
    fold_as_the_previous_release()
    folded_hours = []
    rollups.fold(folded_hours.append)
    assert folded_hours == sorted(folded_hours, reverse=True)


def test_hours_with_pruned_events_have_no_host(both_hosts):
    fold_as_the_previous_release()
    state = rollups.fold_state()
    state.pruned_before = rollups.floor_to_hour(timezone.now())
    state.save()
    KeyUsage.objects.all()._raw_delete("default")
    assert by_host() == {"": 7}
    rollups.fold()
    assert by_host() == {"": 7}


def test_pruning_keeps_totals_by_host(both_hosts):
    fold_as_the_previous_release()
    rollups.prune(rollups.floor_to_hour(timezone.now()))
    assert not KeyUsage.objects.exists()
    assert by_host() == {API: 4, SANDBOX: 2, "": 1}


@pytest.mark.parametrize("folded", [False, True])
def test_staff_can_compare_and_filter_hosts(staff_client, both_hosts, folded):
    if folded:
        rollups.fold()
    response = staff_client.get(STAFF)
    assert [row[:2] for row in table(response, "Usage by host")] == [[API, "4"], [SANDBOX, "2"], ["No", "host"]]
    assert [row[:3] for row in table(response, "Usage by endpoint")][:2] == [
        ["/orders", API, "3"],
        ["/orders", SANDBOX, "2"],
    ]
    assert 'name="host"' in text(response)
    one = staff_client.get(STAFF, {"host": "Sandbox.Example.com:443"})
    assert stats(one)["requests"] == "2"
    assert "Usage by host" not in text(one)
    assert 'value="Sandbox.Example.com:443"' in text(one)
    assert f"host={SANDBOX}" in one.context["chart_urls"][0][0]


@pytest.mark.parametrize("host", ["", API])
def test_pages_do_not_compare_a_single_host(staff_client, alice, host):
    event(issue_key_to(alice), 5 * HOUR, host=host)
    page = text(staff_client.get(STAFF))
    assert "Usage by host" not in page
    assert f"host={API}" not in page


def test_users_see_hosts_of_their_own_requests(owner, both_hosts):
    foreign = issue_key_to(make_user("carol"))
    event(foreign, host="secret.example.com")
    response = owner.get(ACCOUNT)
    assert len(table(response, "Usage by host")) == 3
    assert "secret.example.com" not in text(response)
    assert stats(owner.get(ACCOUNT, {"host": "secret.example.com"}))["requests"] == "0"


@pytest.mark.parametrize("host", ["https://api.example.com", "a b", "*.example.com", "x" * 271])
def test_invalid_host_filter_is_a_field_error(staff_client, both_hosts, host):
    response = staff_client.get(STAFF, {"host": host})
    assert response.status_code == 400
    assert response.context["form"].errors["host"]
    assert 'name="host"' in text(response)


def test_export_has_a_line_for_each_host(staff_client, both_hosts):
    header, *rows = lines(staff_client.get(STAFF, {"format": "csv"}))
    records = [dict(zip(header, row, strict=True)) for row in rows]
    assert sum(int(record["requests"]) for record in records if record["host"] == API) == 4
    _, *rows = lines(staff_client.get(STAFF, {"format": "csv", "host": SANDBOX}))
    assert {row[header.index("host")] for row in rows} == {SANDBOX}


@pytest.mark.django_db(transaction=True)
def test_reverse_migration_adds_up_hosts(both_hosts):
    rollups.fold()
    columns = "hour", "requests", "tokens", "ms_total", "ms_count", "ms_max"
    try:
        call_command("migrate", "apikeys", "0024", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT endpoint, {', '.join(columns)} FROM key_usage_endpoint_hours ORDER BY hour DESC, endpoint"
            )
            found = [(row[0], *map(int, row[2:])) for row in cursor.fetchall()]
    finally:
        call_command("migrate", verbosity=0)
    assert found == [
        ("/bills", 2, 20, 0, 2, 0),
        ("/orders", 2, 20, 0, 2, 0),
        ("/orders", 2, 20, 2, 2, 1),
        ("/orders", 1, 10, 2, 1, 2),
    ]
    assert by_host() == {API: 4, SANDBOX: 2, "": 1}
    assert rollups.fold() == 3
