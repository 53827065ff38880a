"""Requests on the overview: totals, trends, the chart by reason and the top lists, for three periods."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys.models import KeyUsage, UsageHour
from apikeys.usage import rollups
from apikeys.usage.busiest import busiest
from config.staff.traffic import PERIODS, traffic
from tests.apikeys.usage.events import event, issue_key_to
from tests.pages import text_of
from tests.rows import make_limit, make_staff

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(params=["from the ledger", "folded"])
def folded(request):
    return rollups.fold if request.param == "folded" else lambda: None


def deny(key, ago=HOUR, reason="rate_limited", **fields):
    return event(key, ago, status_code=429, reason=reason, **fields)


def top_list(context, title):
    found = next(one for one in context["top_lists"] if one.title == title)
    return [(line.label, line.requests, line.denied) for line in found.lines]


@pytest.fixture
def requests(alice, bob, free, pro):
    """In the last 24 hours: Alice 3 requests, 2 of them denied, Bob 2. The day before: 1 allowed. 10 days ago: 3."""
    bob.tier = pro
    bob.save()
    orders, search = make_limit(free, "/orders/{id}"), make_limit(free, "/search")
    first, second = issue_key_to(alice, "first"), issue_key_to(bob, "second")
    event(first, 2 * HOUR, endpoint="/orders/1", rate_limit=orders)
    deny(first, 2 * HOUR, endpoint="/orders/2", rate_limit=orders)
    deny(first, 3 * HOUR, reason="permission_denied", endpoint="/secret")
    event(second, 4 * HOUR, endpoint="/search", rate_limit=search, status_code=500)
    event(second, 5 * HOUR, endpoint="/search", rate_limit=search)
    event(second, 30 * HOUR)
    for _ in range(3):
        event(second, 10 * DAY)
    return first, second


@pytest.mark.parametrize(
    ("period", "total", "denied"), [("24h", 5, 2), ("7d", 6, 2), ("30d", 9, 2), ("nonsense", 5, 2)]
)
def test_totals_by_period(staff_client, requests, folded, period, total, denied):
    folded()
    trends = staff_client.get("/admin/", {"period": period}).context["trends"]
    assert [(trend.label, trend.value) for trend in trends] == [
        ("requests", total), ("allowed", total - denied), ("denied", denied),
    ]  # fmt: skip


def test_totals_are_compared_to_the_previous_period(staff_client, requests, folded):
    folded()
    shown = {trend.label: (trend.before, trend.change) for trend in staff_client.get("/admin/").context["trends"]}
    assert shown == {
        "requests": (1, "400% more than before"),
        "allowed": (1, "200% more than before"),
        "denied": (0, "none before"),
    }


def test_trends_describe_the_change(staff_client, alice):
    changes = [trend.change for trend in staff_client.get("/admin/").context["trends"]]
    assert changes == ["as many as before"] * 3
    key = issue_key_to(alice)
    event(key, HOUR)
    event(key, 25 * HOUR)
    event(key, 26 * HOUR)
    assert staff_client.get("/admin/").context["trends"][0].change == "50% fewer than before"
    event(key, HOUR)
    assert staff_client.get("/admin/").context["trends"][0].change == "as many as before"


def test_the_chart_shows_denials_by_reason_with_links_to_the_requests(staff_client, requests, folded):
    folded()
    response = staff_client.get("/admin/")
    chart = response.context["chart"]
    assert chart["names"] == ["Allowed", "Rate limited", "No permission"] or chart["names"][1:] == [
        "No permission",
        "Rate limited",
    ]
    assert len(chart["figures"]) == 24
    assert [sum(column) for column in zip(*(figure[1:] for figure in chart["figures"]), strict=True)] == [3, 1, 1]
    slot = next(number for number, figure in enumerate(chart["figures"]) if figure[1:].count(1) == 2)
    column = chart["names"].index("Rate limited")
    found = staff_client.get(chart["urls"][slot][column])
    assert [row.endpoint for row in found.context["page"].rows] == ["/orders/2"]


def test_rare_reasons_are_combined(staff_client, alice):
    key = issue_key_to(alice)
    reasons = ["rate_limited", "permission_denied", "expired_key", "ambiguous_path", "revoked_key", "disabled_key"]
    for number, reason in enumerate(reasons):
        for _ in range(len(reasons) - number):
            deny(key, reason=reason)
    chart = staff_client.get("/admin/").context["chart"]
    assert chart["names"][-1] == "Other reasons"
    assert sum(figure[-1] for figure in chart["figures"]) == 3
    assert "verdict=denied" in chart["urls"][0][-1]


def test_long_periods_have_one_bar_per_day(staff_client, requests, folded):
    folded()
    chart = staff_client.get("/admin/?period=30d").context["chart"]
    assert len(chart["figures"]) == 30
    assert chart["figures"][-1][0] == f"{timezone.now():%-d %b}"


@pytest.mark.parametrize("period", ["24h", "30d"])
def test_top_lists_are_sorted_by_requests(staff_client, requests, folded, period):
    folded()
    context = staff_client.get("/admin/", {"period": period}).context
    more = 4 if period == "30d" else 0
    assert sorted(top_list(context, "Users")) == [("alice", 3, 2), ("bob", 2 + more, 0)]
    assert sorted(top_list(context, "API keys")) == [("first", 3, 2), ("second", 2 + more, 0)]
    assert sorted(top_list(context, "Tiers")) == [("free", 3, 2), ("pro", 2 + more, 0)]
    assert top_list(context, "Users")[0][0] == ("bob" if more else "alice")
    found = {label: (count, denied) for label, count, denied in top_list(context, "Endpoints")}
    assert found["/orders/{id}"] == (2, 1)
    assert found["/search"] == (2, 0)
    assert found["no rate limit"] == (1 + more, 1)


def test_limits_with_a_host_have_their_own_lines(staff_client, requests, folded, free):
    for host in ("api.example.com", "*.example.org"):
        event(requests[0], 2 * HOUR, endpoint="/hosts", host=host, rate_limit=make_limit(free, "/hosts", host=host))
    event(requests[0], 2 * HOUR, endpoint="/hosts", host="other.example.com")
    folded()
    context = staff_client.get("/admin/").context
    endpoints = next(found for found in context["top_lists"] if found.title == "Endpoints")
    of_hosts = {line.note: line for line in endpoints.lines if line.label == "/hosts"}
    assert {host: line.requests for host, line in of_hosts.items()} == {"api.example.com": 1, "*.example.org": 1}
    rows = staff_client.get(of_hosts["api.example.com"].url).context["page"].rows
    assert [row.host for row in rows] == ["api.example.com"]
    assert "host=" not in of_hosts["*.example.org"].url


def test_a_limit_for_any_host_counts_all_hosts_together_and_says_so(staff_client, requests, folded, free, pro):
    of_host = make_limit(free, "/hosts", host="api.example.com")
    anywhere = make_limit(free, "/hosts", name="anywhere")
    event(requests[0], 2 * HOUR, endpoint="/hosts", host="api.example.com", rate_limit=of_host)
    for host in ("a.example.net", "b.example.net", ""):
        event(requests[0], 2 * HOUR, endpoint="/hosts", host=host, rate_limit=anywhere)
    folded()
    found = staff_client.get("/admin/").context["top_lists"][0].lines
    by_note = {line.note: line for line in found if line.label == "/hosts"}
    assert {note: line.requests for note, line in by_note.items()} == {"api.example.com": 1, "any host": 3}
    rows = staff_client.get(by_note["any host"].url).context["page"].rows
    assert sorted(row.host for row in rows) == ["", "a.example.net", "b.example.net"]
    assert all(line.note == "" for line in found if line.label != "/hosts")


@pytest.mark.parametrize(("host", "filters"), [("api.example.com", True), ("*.example.com", False), ("", False)])
def test_limits_of_several_tiers_lead_to_the_requests_of_their_path(
    staff_client, requests, folded, free, pro, host, filters
):
    for tier in (free, pro):
        limit = make_limit(tier, "/hosts", host=host)
        event(requests[0], 2 * HOUR, endpoint="/hosts", host="api.example.com", rate_limit=limit)
    folded()
    [line] = [line for line in staff_client.get("/admin/").context["top_lists"][0].lines if line.label == "/hosts"]
    assert line.requests == 2
    assert ("path=%2Fhosts" in line.url, "host=api.example.com" in line.url) == (True, filters)
    assert len(staff_client.get(line.url).context["page"].rows) == 2


def test_lines_link_to_their_requests(staff_client, requests):
    context = staff_client.get("/admin/").context
    for found in context["top_lists"]:
        for line in found.lines:
            assert not line.url or staff_client.get(line.url).status_code == 200
    orders = next(line for line in context["top_lists"][0].lines if line.label == "/orders/{id}")
    rows = staff_client.get(orders.url).context["page"].rows
    assert sorted(row.endpoint for row in rows) == ["/orders/1", "/orders/2"]


def test_removed_users_are_shown_as_removed(staff_client, requests):
    KeyUsage.objects.update(user_id=999_999)
    context = staff_client.get("/admin/").context
    assert top_list(context, "Users") == [("removed", 5, 2)]
    assert top_list(context, "Tiers") == []


def test_there_is_no_chart_without_requests(staff_client):
    page = staff_client.get("/admin/")
    assert page.context["chart"] == {}
    assert "No requests yet." in text_of(page)


def test_usage_requires_permission(client, requests):
    client.force_login(make_staff("viewer", "accounts.view_user"))
    page = client.get("/admin/?period=7d")
    assert "chart" not in page.context
    assert "7 days" not in text_of(page)


# --- Rollups ---


def test_a_changed_hour_is_recounted_in_its_day(alice):
    key = issue_key_to(alice)
    row = event(key, 5 * HOUR)
    rollups.fold()
    deny(key, 5 * HOUR)
    rollups.fold()
    assert busiest(PERIODS["30d"].time_range, 5).keys == [(key.pk, 2, 1)]
    row.delete()
    rollups.fold()
    assert busiest(PERIODS["30d"].time_range, 5).keys == [(key.pk, 1, 1)]
    KeyUsage.objects.all().delete()
    rollups.fold()
    assert busiest(PERIODS["30d"].time_range, 5).keys == []


def test_totals_of_pruned_events_are_kept_unless_pruned_too(alice):
    event(issue_key_to(alice), 5 * DAY)
    before = rollups.floor_to_hour(timezone.now() - DAY)
    rollups.prune(before)
    assert traffic(PERIODS["7d"]).total == 1
    assert len(busiest(PERIODS["7d"].time_range, 5).keys) == 1
    rollups.prune(before, keep_totals=False)
    assert traffic(PERIODS["7d"]).total == 0
    assert busiest(PERIODS["7d"].time_range, 5).keys == []
    assert not UsageHour.objects.exists()
