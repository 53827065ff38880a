"""The request log of staff and users: rows, filters, pages, live updates, single requests, CSV, and access."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from apikeys.decision.decide import STATUSES
from apikeys.models import KeyUsage
from apikeys.models.usage import REASONS
from tests.apikeys.usage.events import day, event, issue_key_to
from tests.conftest import make_user
from tests.pages import text_of
from tests.rows import make_limit, make_staff

pytestmark = pytest.mark.django_db

STAFF, OWN = "/admin/usage/requests/", "/account/usage/requests/"
HOUR = timedelta(hours=1)


def shown_paths(response):
    """The paths of the rows, in order."""
    assert response.status_code == 200, text_of(response)
    return [row.endpoint for row in response.context["page"].rows]


def listed_paths(client, url=STAFF, **query):
    return shown_paths(client.get(url, query))


# --- Rows ---


def test_row_shows_request_owner_and_reason(staff_client, alice, free):
    limit = make_limit(free, "/search", name="free-4")
    event(
        issue_key_to(alice, "web shop"), at=day(2026, 3, 1, 14, 0, 3, 120_000), method="POST", endpoint="/search", host="api.example.com",
        status_code=429, reason="rate_limited", rate_limit=limit, ip_address="192.0.2.7",
        denied_by={"name": "free-4", "rate": "5 per 10 seconds", "retry_after": 3},
    )  # fmt: skip
    page = text_of(staff_client.get(STAFF))
    assert "2026-03-01 14:00:03.120" in page
    for words in ("alice", "web shop", "POST /search", "api.example.com", "429", "Rate limited", "192.0.2.7"):
        assert words in page
    assert "free-4: 5 per 10 seconds used up, retry after 3 seconds" in page


def test_row_shows_reported_usage(staff_client, alice):
    event(
        issue_key_to(alice), response_time_ms=1234, tokens_used=5678, cost_microcents=91_000, error_message="no stock"
    )
    page = text_of(staff_client.get(STAFF))
    for words in ("1,234 ms", "5,678 tokens", "$0.00091", "no stock"):
        assert words in page


def test_every_reason_has_a_label():
    assert set(STATUSES) - {"missing_key", "malformed_key", "unknown_key"} <= set(REASONS)


def test_unknown_reason_is_shown_unchanged(staff_client, alice):
    event(issue_key_to(alice), status_code=403, reason="made_up")
    assert "made_up" in text_of(staff_client.get(STAFF))


def test_requests_are_sorted_by_time_not_by_id(staff_client, alice):
    key = issue_key_to(alice)
    for hours in (2, 1, 3):
        event(key, hours * HOUR, endpoint=f"/{hours}")
    assert listed_paths(staff_client) == ["/1", "/2", "/3"]


def test_empty_log_explains_itself(staff_client, alice):
    assert "Every decision about a known key appears here" in text_of(staff_client.get(STAFF))
    staff_client.force_login(alice)
    assert "Every request with one of your keys appears here" in text_of(staff_client.get(OWN))


def test_event_of_a_purged_key_and_user_is_shown(staff_client, alice):
    event(issue_key_to(alice), endpoint="/kept")
    KeyUsage.objects.update(api_key_id=uuid4(), user_id=alice.pk + 1000)
    assert listed_paths(staff_client) == ["/kept"]
    assert "/kept" in text_of(staff_client.get(f"{STAFF}{KeyUsage.objects.get().pk}/"))
    assert "/kept" in staff_client.get(STAFF, {"format": "csv"}).getvalue().decode()


def test_request_data_is_escaped(staff_client, alice):
    row = event(
        issue_key_to(alice), endpoint="/<script>", user_agent="<b>", error_message="<i>", metadata={"<u>": "<s>"}
    )
    for url in (STAFF, f"{STAFF}{row.pk}/"):
        page = staff_client.get(url).content.decode()
        assert not re.search(r"<script>\s|<b>|<i>|<u>|<s>", page)


# --- Filters ---


@pytest.fixture
def traffic(alice, bob, free, pro):
    bob.tier = pro
    bob.save()
    limit = make_limit(free, "/slow", name="free-slow")
    first, second, foreign = issue_key_to(alice, "first"), issue_key_to(alice, "second"), issue_key_to(bob, "foreign")
    event(first, HOUR, endpoint="/orders/1", method="POST", host="api.example.com", ip_address="192.0.2.1")
    event(first, 2 * HOUR, endpoint="/orders/2", status_code=404, response_time_ms=900, error_message="Not there")
    event(second, 3 * HOUR, endpoint="/slow", status_code=429, reason="rate_limited", rate_limit=limit)
    event(foreign, 4 * HOUR, endpoint="/bob", status_code=403, reason="permission_denied", ip_address="2001:db8::1")
    event(foreign, 5 * HOUR, endpoint="/paid", status_code=500, tokens_used=500, cost_microcents=70)
    event(foreign, 30 * HOUR, endpoint="/old", method="POST")
    return first, second, foreign


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"user": "alice"}, ["/orders/1", "/orders/2", "/slow"]),
        ({"user": "bob@example.com"}, ["/bob", "/paid", "/old"]),
        ({"tier": "pro"}, ["/bob", "/paid"]),
        ({"verdict": "allowed"}, ["/orders/1", "/orders/2", "/paid", "/old"]),
        ({"verdict": "denied"}, ["/slow", "/bob"]),
        ({"verdict": "rate_limited"}, ["/slow"]),
        ({"limit": "free-slow"}, ["/slow"]),
        ({"limit": "number"}, ["/slow"]),
        ({"status": "404"}, ["/orders/2"]),
        ({"status": "4xx"}, ["/orders/2", "/slow", "/bob"]),
        ({"method": "POST"}, ["/orders/1"]),
        ({"path": "/orders/1"}, ["/orders/1"]),
        ({"path": "/orders/*"}, ["/orders/1", "/orders/2"]),
        ({"path": "/orders/1/*"}, ["/orders/1"]),
        ({"path": "/ord*"}, ["/orders/1", "/orders/2"]),
        ({"path": "/orders/{id}"}, ["/orders/1", "/orders/2"]),
        ({"path": "/{kind}/*"}, ["/orders/1", "/orders/2", "/slow", "/bob", "/paid"]),
        ({"path": "/{kind}"}, ["/slow", "/bob", "/paid"]),
        ({"path": "/{k}/(.*)+"}, []),
        ({"host": "API.example.com:443"}, ["/orders/1"]),
        ({"address": "192.0.2.1"}, ["/orders/1"]),
        ({"address": "[2001:0db8::1]:443"}, ["/bob"]),
        ({"slower": "900"}, ["/orders/2"]),
        ({"tokens": "1"}, ["/paid"]),
        ({"cost": "70"}, ["/paid"]),
        ({"error": "not THERE"}, ["/orders/2"]),
        ({"user": "bob", "verdict": "allowed"}, ["/paid", "/old"]),
        ({"user": "bob", "status": "4xx"}, ["/bob"]),
    ],
    ids=lambda value: "&".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
def test_staff_filters(staff_client, traffic, free, pro, query, expected):
    values = {"pro": pro.pk, "number": free.rate_limits.get().pk}
    query = {name: values.get(value, value) for name, value in query.items()}
    assert listed_paths(staff_client, **query) == expected


def test_filter_by_key_id(staff_client, traffic):
    page = staff_client.get(STAFF, {"key": str(traffic[1].pk)})
    assert shown_paths(page) == ["/slow"]
    assert "second" in text_of(page)


def test_filter_by_start_and_end(staff_client, alice):
    key = issue_key_to(alice)
    for at in (day(2026, 3, 1, 13, 59, 59), day(2026, 3, 1, 14), day(2026, 3, 1, 14, 59, 59), day(2026, 3, 1, 15)):
        event(key, at=at, endpoint=f"/{at:%H%M}")
    assert listed_paths(staff_client, since="2026-03-01T14:00", until="2026-03-01T15:00") == ["/1459", "/1400"]
    assert listed_paths(staff_client, since="2026-03-01T14:00") == ["/1500", "/1459", "/1400"]
    assert listed_paths(staff_client, until="2026-03-01T14:00:00") == ["/1359"]


def test_filter_without_an_index_covers_24_hours_by_default(staff_client, traffic):
    note = "Only 24 hours were searched."
    page = staff_client.get(STAFF, {"method": "POST"})
    assert shown_paths(page) == ["/orders/1"]
    assert note in text_of(page)
    until = f"{timezone.now() - 20 * HOUR:%Y-%m-%dT%H:%M}"
    assert listed_paths(staff_client, method="POST", until=until) == ["/old"]
    page = staff_client.get(STAFF, {"method": "POST", "since": "2020-01-01T00:00"})
    assert shown_paths(page) == ["/orders/1", "/old"]
    assert note not in text_of(page)
    assert note not in text_of(staff_client.get(STAFF, {"verdict": "denied"}))


def test_form_says_which_filters_need_a_start_time(staff_client, alice):
    bar = staff_client.get(STAFF).context["filter"].bar
    assert {menu.label for menu in bar.menus if menu.note} == {"Tier", "Rate limit", "Request", "Result"}
    staff_client.force_login(alice)
    page = text_of(staff_client.get(OWN))
    assert page.count("Without a start time, this only searches 24 hours.") == 4  # with that of the path


def test_each_active_filter_can_be_removed(staff_client, traffic):
    page = text_of(staff_client.get(STAFF, {"user": "alice", "verdict": "denied", "since": "2026-03-01T14:00"}))
    assert "User: <strong>alice</strong>" in page
    assert "Verdict: <strong>Denied, for any reason</strong>" in page
    assert "From: <strong>2026-03-01 14:00</strong>" in page
    assert 'href="?verdict=denied&amp;since=2026-03-01T14%3A00"' in page


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "soon"}, "Enter a valid date and time, for example 2027-01-31 00:00."),
        ({"since": "1999-01-01T00:00"}, "Choose a time between 2000 and 2200."),
        ({"until": "0001-01-01T00:00+23:59"}, "Choose a time between 2000 and 2200."),
        ({"user": "nobody"}, "There is no user with this username or email address."),
        ({"key": "12"}, "Enter a valid UUID."),
        ({"key": str(uuid4())}, "There is no API key with this ID."),
        ({"limit": "none"}, "There is no rate limit with this name."),
        ({"limit": "9" * 18}, "There is no rate limit with this name."),
        ({"status": "4x"}, "Enter a status such as 404"),
        ({"status": "999"}, "Enter a status such as 404"),
        ({"address": "here"}, "Enter a valid IPv4 or IPv6 address."),
        ({"host": "https://example.com"}, "Enter a valid host"),
        ({"verdict": "maybe"}, "Select a valid choice."),
        ({"slower": "-1"}, "Enter 0 or more."),
        ({"tokens": "9" * 30}, " or less."),
        ({"tier": "x"}, "Select a valid choice."),
    ],
    ids=str,
)
def test_invalid_filter_is_a_field_error_and_keeps_the_input(staff_client, traffic, query, words):
    response = staff_client.get(STAFF, query)
    page = text_of(response)
    assert response.status_code == 400
    assert words in page
    (value,) = query.values()
    assert f'value="{value}"' in page or "select" in page
    assert "/orders/1" not in page


# --- Pages ---


@pytest.fixture
def pages_of_two(staff_client):
    User.objects.update(rows_per_page=2)


def follow(client, response, rel):
    found = re.search(rf'<a href="(\?[^"]*)" rel="{rel}">', response.content.decode())
    return client.get(STAFF + found[1].replace("&amp;", "&")) if found else None


def test_pagination_misses_no_rows(staff_client, alice, pages_of_two):
    key, created_at = issue_key_to(alice), timezone.now() - HOUR
    for number in range(5):
        event(key, at=created_at, endpoint=f"/{number}")  # all at the same time
    first = staff_client.get(STAFF, {"user": "alice"})
    second = follow(staff_client, first, "next")
    third = follow(staff_client, second, "next")
    assert [shown_paths(page) for page in (first, second, third)] == [["/4", "/3"], ["/2", "/1"], ["/0"]]
    assert follow(staff_client, third, "next") is None
    assert follow(staff_client, first, "prev") is None
    back = follow(staff_client, third, "prev")
    assert shown_paths(back) == ["/2", "/1"]
    assert shown_paths(follow(staff_client, back, "prev")) == ["/4", "/3"]
    assert "User: <strong>alice</strong>" in text_of(third)


def test_new_requests_do_not_shift_older_pages(staff_client, alice, pages_of_two):
    key = issue_key_to(alice)
    for number in range(4):
        event(key, (10 - number) * HOUR, endpoint=f"/{number}")
    first = staff_client.get(STAFF)
    event(key, endpoint="/new")
    assert shown_paths(follow(staff_client, first, "next")) == ["/1", "/0"]


def test_pagination_with_database_timestamps(staff_client, verify, key, pages_of_two):
    for number in range(4):
        verify(key=key.secret, method="GET", path=f"/{number}")
    first = staff_client.get(STAFF)
    assert shown_paths(first) == ["/3", "/2"]
    assert shown_paths(follow(staff_client, first, "next")) == ["/1", "/0"]


def test_unknown_page_position_is_handled(staff_client, alice):
    event(issue_key_to(alice), endpoint="/here")
    assert listed_paths(staff_client, before="nonsense") == ["/here"]
    assert listed_paths(staff_client, after=str(uuid4())) == ["/here"]
    gone = staff_client.get(STAFF, {"before": str(uuid4())})
    assert shown_paths(gone) == []
    assert "No older requests." in text_of(gone)


def test_pagination_uses_no_count_or_offset(staff_client, traffic):
    with CaptureQueriesContext(connection) as captured:
        staff_client.get(STAFF, {"before": str(KeyUsage.objects.first().pk), "verdict": "denied"})
    sent = [query["sql"] for query in captured.captured_queries if "key_usage" in query["sql"]]
    assert sent
    assert not [sql for sql in sent if "COUNT(" in sql or "OFFSET" in sql]


def test_number_of_queries_does_not_grow_with_rows(staff_client, free):
    def queries(url):
        with CaptureQueriesContext(connection) as captured:
            assert staff_client.get(url).status_code == 200
        return len(captured)

    def fill(start, end):
        for number in range(start, end):
            limit = make_limit(free, f"/{number}")
            event(issue_key_to(make_user(f"user{number}", tier=free)), status_code=429, reason="x", rate_limit=limit)

    fill(0, 1)
    queries(STAFF)
    one = queries(STAFF)
    fill(1, 30)
    assert queries(STAFF) == one <= 10


# --- Live ---


def test_live_updates_are_started_and_stopped_by_links(staff_client, alice):
    event(issue_key_to(alice))
    page = staff_client.get(STAFF, {"verdict": "allowed"})
    assert "Refresh" not in page
    assert 'href="?verdict=allowed&amp;live=1"' in text_of(page)
    live = staff_client.get(STAFF, {"verdict": "allowed", "live": "1"})
    assert live["Refresh"] == "5"
    assert "Updated every 5 seconds" in text_of(live)
    assert 'href="?verdict=allowed">Stop live updates' in text_of(live)


def test_older_pages_are_not_refreshed(staff_client, alice, pages_of_two):
    key = issue_key_to(alice)
    for _ in range(4):
        event(key)
    newest = staff_client.get(STAFF, {"live": "1"})
    assert "Refresh" not in follow(staff_client, newest, "next")


# --- One request ---


def test_request_page_shows_all_fields(staff_client, alice, free):
    limit = make_limit(free, "/orders", name="free-4", limit=5)
    key = issue_key_to(alice, "web shop")
    row = event(
        key, method="POST", status_code=429, reason="rate_limited", rate_limit=limit, ip_address="192.0.2.7", user_agent="curl/8",
        host="api.example.com",
        denied_by={"name": "free-4", "rate": "5 per minute", "retry_after": 60}, metadata={"region": "eu", "n": [1]},
        tokens_used=12, cost_microcents=0, response_time_ms=0, error_message="Bad luck",
    )  # fmt: skip
    page = text_of(staff_client.get(f"{STAFF}{row.pk}/"))
    for words in (
        "curl/8",
        "192.0.2.7",
        str(row.pk),
        "rate_limited",
        "5 per minute used up",
        "region",
        "eu",
        "[1]",
        "Bad luck",
        "0 ms",
    ):
        assert words in page
    for link in (alice.get_absolute_url(), key.get_absolute_url(), limit.get_absolute_url()):
        assert f'href="{link}"' in page
    assert (
        f"/admin/apikeys/explain/?id={key.pk}&amp;method=POST&amp;path=%2Forders&amp;host=api.example.com&amp;address=192.0.2.7"
        in page
    )


def test_explain_link_is_filled_in_with_the_request(staff_client, alice):
    key = issue_key_to(alice)
    row = event(key, method="PUT", endpoint="/a b/ü", host="api.example.com", ip_address="192.0.2.7")
    url = staff_client.get(f"{STAFF}{row.pk}/").context["explain_url"]
    form = staff_client.get(url).context["form"]
    assert form.initial == {
        "key": str(key.pk),
        "method": "PUT",
        "path": "/a%20b/%C3%BC",
        "host": "api.example.com",
        "address": "192.0.2.7",
    }


def test_request_page_says_if_nothing_was_reported(staff_client, alice):
    row = event(issue_key_to(alice))
    assert "No service has reported the outcome of this request." in text_of(staff_client.get(f"{STAFF}{row.pk}/"))


def test_unknown_request_is_404(staff_client):
    assert staff_client.get(f"{STAFF}{uuid4()}/").status_code == 404


# --- CSV ---


def lines(response):
    return list(csv.DictReader(b"".join(response.streaming_content).decode("utf-8-sig").splitlines()))


def test_export_has_the_filtered_rows(staff_client, traffic):
    assert [row["path"] for row in lines(staff_client.get(STAFF, {"verdict": "denied", "format": "csv"}))] == [
        "/slow",
        "/bob",
    ]
    row = lines(staff_client.get(STAFF, {"user": "bob", "status": "500", "format": "csv"}))[0]
    assert (row["user"], row["key"], row["status"], row["tokens"], row["cost_microcents"]) == (
        "bob", "foreign", "500", "500", "70",
    )  # fmt: skip
    assert datetime.fromisoformat(row["time"]).tzinfo == UTC


def test_export_with_invalid_filter_is_a_form_error(staff_client):
    assert staff_client.get(STAFF, {"user": "nobody", "format": "csv"}).status_code == 400


# --- Who sees what ---


def test_users_see_only_requests_of_their_own_keys(owner, traffic):
    assert listed_paths(owner, OWN) == ["/orders/1", "/orders/2", "/slow"]
    assert listed_paths(owner, OWN, key=str(traffic[1].pk)) == ["/slow"]
    assert owner.get(OWN, {"key": str(traffic[2].pk)}).status_code == 400
    assert [row["path"] for row in lines(owner.get(OWN, {"format": "csv"}))] == ["/orders/1", "/orders/2", "/slow"]


@pytest.mark.parametrize("query", [{"user": "bob"}, {"tier": "1"}])
def test_staff_filters_have_no_effect_for_users(owner, traffic, query):
    assert listed_paths(owner, OWN, **query) == ["/orders/1", "/orders/2", "/slow"]


def test_users_can_only_open_their_own_requests(owner, traffic, alice, bob):
    mine, foreign = KeyUsage.objects.filter(user=alice).first(), KeyUsage.objects.filter(user=bob).first()
    page = text_of(owner.get(f"{OWN}{mine.pk}/"))
    assert f'href="/account/keys/{mine.api_key_id}/"' in page
    assert "/admin/" not in page.split("<main")[-1]
    assert owner.get(f"{OWN}{foreign.pk}/").status_code == 404
    assert owner.get(f"{STAFF}{mine.pk}/").status_code == 403


def test_staff_without_permission_are_denied(client, traffic):
    client.force_login(make_staff("viewer", "accounts.view_user", "apikeys.view_apikey"))
    assert client.get(STAFF).status_code == 403
    assert client.get(f"{STAFF}{KeyUsage.objects.first().pk}/").status_code == 403


def test_page_only_has_links_the_user_can_open(client, traffic):
    client.force_login(make_staff("auditor", "apikeys.view_keyusage"))
    row = KeyUsage.objects.filter(reason="rate_limited").get()
    page = text_of(client.get(f"{STAFF}{row.pk}/"))
    assert "alice" in page
    for place in ("/users/", "/admin/apikeys/", "/admin/ratelimits/"):
        assert f'href="{place}' not in page
