"""/admin/usage/ and /account/usage/: totals, charts, filters, CSV, and access."""

from __future__ import annotations

import csv
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys.models import APIKey, KeyPermission
from apikeys.usage import rollups
from tests.apikeys.pages.test_key_owner_pages import text
from tests.apikeys.usage.events import event, issue_key_to

STAFF, ACCOUNT = "/admin/usage/", "/account/usage/"
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def stats(response):
    """The values of the cards, by label."""
    found = re.findall(r'stat-value">([^<]*)</span>\s*<span class="stat-label">([^<]*)<', text(response))
    return {label.split(",")[0]: value for value, label in found}


def table(response, caption):
    body = text(response).split(f">{caption}<")[-1].split("</table>")[0]
    return [re.sub(r"<[^>]+>", " ", row).split() for row in body.split("<tr>")[2:]]


def lines(response):
    assert response.status_code == 200
    return list(csv.reader(b"".join(response.streaming_content).decode("utf-8-sig").splitlines()))


@pytest.fixture
def traffic(alice, bob):
    """Alice: 5 requests to two endpoints with two keys, 1 denied and 1 failed. Bob: 2 requests."""
    first, second, foreign = issue_key_to(alice, "first"), issue_key_to(alice, "second"), issue_key_to(bob, "foreign")
    event(first, 5 * HOUR, endpoint="/orders", response_time_ms=100, tokens_used=1000, cost_microcents=7)
    event(first, 5 * HOUR, endpoint="/orders", response_time_ms=300, status_code=500)
    event(first, 5 * HOUR, endpoint="/bills", status_code=429, reason="rate_limited")
    event(second, 2 * DAY, endpoint="/orders")
    event(second, endpoint="/bills")
    event(foreign, 5 * HOUR, endpoint="/orders")
    event(foreign, endpoint="/secret-of-bob")
    return first, second, foreign


@pytest.mark.parametrize("folded", [False, True])
def test_staff_see_totals_of_all_users(staff_client, traffic, folded):
    if folded:
        rollups.fold()
    response = staff_client.get(STAFF)
    assert stats(response) == {
        "requests": "7",
        "denied": "1",
        "errors (4xx and 5xx)": "1",
        "average": "200 ms",
        "tokens": "1,000",
        "cost": "$0.00000007",
    }
    assert table(response, "Denials by reason") == [["Rate", "limited", "1"]]
    assert table(response, "Usage by endpoint")[0][:3] == ["/orders", "4", "0"]
    assert [row[0] for row in table(response, "Usage by user")] == ["alice", "bob"]
    assert len(table(response, "Usage by key")) == 3


@pytest.mark.parametrize("folded", [False, True])
def test_denials_by_reason_are_sorted_by_frequency(staff_client, alice, folded):
    key = issue_key_to(alice)
    denied = {"permission_denied": 2, "rate_limited": 3, "expired_key": 2}
    for reason, times in denied.items():
        for day in range(times):
            event(key, day * DAY + HOUR, status_code=403, reason=reason, response_time_ms=10 * (day + 1))
    if folded:
        rollups.fold()
    response = staff_client.get(STAFF)
    assert table(response, "Denials by reason") == [
        ["Rate", "limited", "3"],
        ["Key", "expired", "2"],
        ["No", "permission", "2"],
    ]
    assert stats(response)["denied"] == stats(response)["requests"] == "7"
    assert "slowest 30 ms" in text(response)


def test_all_figures_are_zero_without_events(staff_client, db):
    response = staff_client.get(STAFF)
    assert stats(response) == {
        "requests": "0",
        "denied": "0",
        "errors (4xx and 5xx)": "0",
        "average": "–",
        "tokens": "0",
        "cost": "$0.00",
    }
    assert "No requests were denied." in text(response)
    assert "No data for this period." in text(response)


@pytest.mark.parametrize("folded", [False, True])
def test_users_see_only_their_own_usage(owner, traffic, folded):
    if folded:
        rollups.fold()
    response = owner.get(ACCOUNT)
    assert stats(response)["requests"] == "5"
    assert "secret-of-bob" not in text(response)
    assert "foreign" not in text(response)
    assert "Usage by user" not in text(response)
    assert stats(owner.get(ACCOUNT, {"endpoint": "/orders"}))["requests"] == "3"
    assert stats(owner.get(ACCOUNT, {"endpoint": "/secret-of-bob"}))["requests"] == "0"


def test_other_users_key_is_unknown(owner, traffic):
    foreign = owner.get(ACCOUNT, {"key": traffic[2].pk})
    missing = owner.get(ACCOUNT, {"key": "00000000-0000-4000-8000-000000000000"})
    for response in (foreign, missing):
        assert response.status_code == 400
        assert "There is no API key with this ID." in text(response)
        assert not stats(response)


def test_users_cannot_filter_by_user_or_tier(owner, traffic, bob, free):
    assert stats(owner.get(ACCOUNT, {"user": "bob", "tier": free.pk}))["requests"] == "5"


def test_staff_filter_by_key_user_tier_and_endpoint(staff_client, traffic, free):
    first, second, _ = traffic
    for query, count in (
        ({"key": first.pk}, "3"),
        ({"key": [first.pk, second.pk]}, "5"),
        ({"user": "bob"}, "2"),
        ({"user": "BOB@example.com"}, "2"),
        ({"tier": free.pk}, "7"),
        ({"endpoint": "/orders"}, "4"),
        ({"endpoint": "/orders", "user": "bob"}, "1"),
    ):
        assert stats(staff_client.get(STAFF, query))["requests"] == count, query


def test_endpoint_filter_lists_its_keys(staff_client, traffic):
    rows = table(staff_client.get(STAFF, {"endpoint": "/bills"}), "Usage by key")
    assert {row[0] for row in rows} == {"first", "second"}


def test_several_keys_are_shown_in_one_chart(staff_client, traffic):
    response = staff_client.get(STAFF, {"key": [key.pk for key in traffic]})
    assert "Requests by key" in text(response)
    assert "chart-key-2" in text(response)
    assert "Requests by key" not in text(staff_client.get(STAFF, {"key": traffic[0].pk}))


def test_filter_by_days(staff_client, traffic):
    today = timezone.now().date()
    assert stats(staff_client.get(STAFF, {"first": today + DAY, "last": today + DAY}))["requests"] == "0"
    two_days_ago = (timezone.now() - 2 * DAY).date()
    assert stats(staff_client.get(STAFF, {"first": two_days_ago, "last": two_days_ago}))["requests"] == "1"


def test_chart_shows_hours_of_a_day_and_days_of_a_month(staff_client, traffic):
    today = timezone.now().date().isoformat()
    assert text(staff_client.get(STAFF, {"first": today, "last": today})).count('<th scope="row">') >= 24
    assert ":00</th>" in text(staff_client.get(STAFF, {"first": today, "last": today}))
    assert ":00</th>" not in text(staff_client.get(STAFF))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"first": "2026-02-30"}, "valid date"),
        ({"first": "x" * 1_000}, "valid date"),
        ({"first": "2026-03-02", "last": "2026-03-01"}, "must not be after"),
        ({"first": "2020-01-01", "last": "2026-03-01"}, "at most 366 days"),
        ({"first": "0001-01-01", "last": "0001-01-02"}, "between 2000 and 2200"),
        ({"last": "0001-01-02"}, "between 2000 and 2200"),
        ({"first": "9999-12-31", "last": "9999-12-31"}, "between 2000 and 2200"),
        ({"key": "x"}, "is not a valid UUID"),
        ({"key": str(2**63)}, "is not a valid UUID"),
        ({"user": "nobody"}, "no user"),
        ({"user": "x" * 300}, "at most 254"),
        ({"tier": str(2**63)}, "valid choice"),
        ({"tier": "x"}, "valid choice"),
        ({"endpoint": "/" + "x" * 300}, "at most 255"),
    ],
)
def test_invalid_usage_filter_is_a_field_error(staff_client, query, message):
    response = staff_client.get(STAFF, query)
    assert response.status_code == 400
    assert message in text(response)
    assert not stats(response)


def test_at_most_12_keys_can_be_chosen(staff_client, traffic):
    assert stats(staff_client.get(STAFF, {"key": [traffic[0].pk] * 12}))["requests"] == "3"
    response = staff_client.get(STAFF, {"key": [traffic[0].pk] * 13})
    assert response.status_code == 400
    assert "Choose at most 12 keys." in text(response)


def test_an_unknown_key_can_be_removed(staff_client, traffic):
    response = staff_client.get(STAFF, {"key": [traffic[0].pk, "x"], "host": "api.example.com"})
    chip = response.context["form"].bar.chips[0]
    assert (chip.label, chip.value, chip.query) == ("API key", f"{traffic[0].pk}, x", "host=api.example.com")


def test_keys_stay_chosen_while_another_filter_is_invalid(staff_client, traffic):
    response = staff_client.get(STAFF, {"key": traffic[0].pk, "first": "x"})
    assert [(chip.label, chip.value) for chip in response.context["form"].bar.chips] == [
        ("API key", "first"),
        ("From", "x"),
    ]


def test_first_or_last_day_is_enough(staff_client, traffic):
    day = (timezone.now() - 2 * DAY).date()
    assert stats(staff_client.get(STAFF, {"first": day}))["requests"] == "7"
    assert stats(staff_client.get(STAFF, {"last": day}))["requests"] == "1"


@pytest.mark.parametrize("folded", [False, True])
def test_export_adds_up_to_the_totals(staff_client, traffic, folded):
    if folded:
        rollups.fold()
    header, *rows = lines(staff_client.get(STAFF, {"format": "csv"}))
    records = [dict(zip(header, row, strict=True)) for row in rows]
    assert sum(int(record["requests"]) for record in records) == 7
    assert sum(int(record["tokens"]) for record in records) == 1000
    failed = next(record for record in records if record["errors"] == "1")
    assert (failed["key"], failed["endpoint"], failed["average_ms"], failed["slowest_ms"]) == (
        "first",
        "/orders",
        "200",
        "300",
    )


def test_users_export_only_their_own_usage(owner, traffic):
    _, *rows = lines(owner.get(ACCOUNT, {"format": "csv"}))
    assert {row[3] for row in rows} == {"alice"}


def test_export_escapes_formulas(staff_client, alice):
    key = issue_key_to(alice, "=HYPERLINK()")
    event(key, endpoint="@SUM(1)")
    _, row = lines(staff_client.get(STAFF, {"format": "csv"}))
    assert (row[2], row[6]) == ("'=HYPERLINK()", "'@SUM(1)")


def test_purged_key_keeps_its_line(staff_client, alice):
    event(issue_key_to(alice))
    KeyPermission.objects.all().delete()
    APIKey.objects.all()._raw_delete("default")
    assert "removed" in text(staff_client.get(STAFF))
    assert stats(staff_client.get(STAFF))["requests"] == "1"
    _, row = lines(staff_client.get(STAFF, {"format": "csv"}))
    assert row[2:4] == ["", ""]


@pytest.mark.parametrize("count", [1, 15])
@pytest.mark.parametrize("folded", [False, True])
def test_number_of_queries_is_constant(staff_client, alice, count, folded, django_assert_max_num_queries):
    for number in range(count):
        event(issue_key_to(alice, f"key {number}"), 5 * HOUR, endpoint=f"/{number}")
    if folded:
        rollups.fold()
    with django_assert_max_num_queries(28):
        assert stats(staff_client.get(STAFF))["requests"] == str(count)


def test_recent_events_are_read_in_one_statement(staff_client, traffic):
    with CaptureQueriesContext(connection) as captured:
        assert stats(staff_client.get(STAFF, {"key": [str(key.pk) for key in traffic]}))["requests"] == "7"
    assert len([query for query in captured if '"key_usage"."created_at"' in query["sql"]]) == 1


def test_hostile_names_are_escaped(staff_client, alice):
    event(issue_key_to(alice, "<i>k</i>"), endpoint="/<script>alert(1)</script>")
    shown = text(staff_client.get(STAFF))
    assert "<i>k" not in shown
    assert "<script>alert" not in shown


def test_anonymous_visitors_must_sign_in(client, db):
    assert client.get(ACCOUNT).status_code == 302
    assert client.get(STAFF).status_code == 302


# --- Links to the requests behind a figure ---


def linked_paths(client, url):
    return [row.endpoint for row in client.get(url).context["page"].rows]


def test_each_bar_links_to_its_requests(staff_client, alice):
    key = issue_key_to(alice)
    at = timezone.now().replace(hour=0, minute=30) - DAY
    event(key, at=at, endpoint="/allowed")
    event(key, at=at, endpoint="/denied", status_code=403, reason="permission_denied")
    event(key, at=at - DAY, endpoint="/other-day")
    for query in (
        {"user": "alice"},
        {"key": str(key.pk)},
        {"tier": alice.tier_id},
        {"first": f"{at:%F}", "last": f"{at:%F}"},
    ):
        page = text(staff_client.get(STAFF, query))
        svg, figures = page.split('<svg viewBox="0 0 960', 1)[1].split("</svg>", 1)
        bars = re.findall(r'<a href="([^"]+)" tabindex="-1">', svg)
        same = [url.replace("&amp;", "&") for url in bars if f"since={at:%F}" in url]
        assert [linked_paths(staff_client, url) for url in same] == [["/allowed"], ["/denied"]]
        assert bars[-1] in figures
        assert 'role="group"' in svg


def test_each_bar_of_a_key_links_to_its_requests(owner, alice):
    first, second = issue_key_to(alice, "first"), issue_key_to(alice, "second")
    event(first, endpoint="/first")
    event(second, endpoint="/second")
    chart = owner.get(ACCOUNT, {"key": [str(first.pk), str(second.pk)]}).context["by_key"]
    found = {name: linked_paths(owner, url) for name, url in zip(chart["names"], chart["urls"][-1], strict=True)}
    assert found == {"first": ["/first"], "second": ["/second"]}


def test_chart_of_several_keys_has_no_links(owner, alice):
    keys = [issue_key_to(alice), issue_key_to(alice)]
    event(keys[0])
    assert owner.get(ACCOUNT, {"key": [str(key.pk) for key in keys]}).context["chart_urls"] == []


def test_reason_links_to_its_requests(staff_client, traffic):
    page = text(staff_client.get(STAFF, {"user": "alice"}))
    url = re.search(r'<a href="([^"]+)">Rate limited</a>', page)[1].replace("&amp;", "&")
    assert linked_paths(staff_client, url) == ["/bills"]
