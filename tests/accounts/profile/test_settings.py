"""Personal settings: time zone, rows per page, theme."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import User
from accounts.validators import validate_time_zone
from apikeys.models import APIKey, KeyUsage
from apikeys.usage.request_links import RequestLinks
from ratelimits.models import Denial
from tests.accounts.people import make_event, make_key, signed_in
from tests.conftest import make_user
from tests.pages import fields_of, opened, text_of

pytestmark = pytest.mark.django_db

SETTINGS = "/account/settings/"
AT_NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
KOLKATA = "Asia/Kolkata"  # UTC+5:30, no daylight saving time


def client_in_kolkata(user):
    User.objects.filter(pk=user.pk).update(time_zone=KOLKATA)
    return signed_in(User.objects.get(pk=user.pk))


def save(client, **changes):
    return client.post(SETTINGS, opened(client, SETTINGS, "time_zone") | changes)


def test_a_user_chooses_a_time_zone_rows_per_page_and_a_theme(alice):
    client = signed_in(alice)
    assert save(client, time_zone=KOLKATA, rows_per_page="25", theme="dark").status_code == 302
    alice.refresh_from_db()
    assert (alice.time_zone, alice.rows_per_page, alice.theme) == (KOLKATA, 25, "dark")
    page = client.get(SETTINGS).content.decode()
    assert "Settings saved." in page
    assert '<option value="Asia/Kolkata" selected>Kolkata</option>' in page
    assert '<meta name="color-scheme" content="dark">' in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_zone", "Mars/Olympus"), ("time_zone", "../etc/passwd"), ("time_zone", ""), ("rows_per_page", "1000000"),
        ("rows_per_page", "x"), ("theme", "pink"), ("time_zone", "x" * 300),
    ],
)  # fmt: skip
def test_invalid_settings_are_field_errors(alice, field, value):
    client = signed_in(alice)
    response = save(client, **{field: value})
    assert response.status_code == 200
    assert list(response.context["form"].errors) == [field]
    alice.refresh_from_db()
    assert (alice.time_zone, alice.rows_per_page, alice.theme) == ("UTC", 50, "auto")


def test_an_unknown_time_zone_fails_validation(alice):
    alice.time_zone = "Europe/Nowhere"
    with pytest.raises(ValidationError) as refused:
        alice.full_clean()
    assert refused.value.message_dict == {"time_zone": ["Choose a time zone, for example Europe/Berlin."]}
    validate_time_zone("Etc/GMT+5")


@pytest.mark.parametrize("stored", ["Europe/Nowhere", "../x", ""])
def test_an_unknown_stored_time_zone_falls_back_to_utc(alice, stored):
    User.objects.filter(pk=alice.pk).update(time_zone=stored)
    alice.refresh_from_db()
    assert str(alice.zone) == "UTC"
    assert signed_in(alice).get("/account/").status_code == 200


def test_pages_show_times_in_the_users_time_zone_and_in_utc_on_hover(alice, bob):
    User.objects.filter(pk=alice.pk).update(created_at=AT_NOON)
    assert 'title="2026-03-01 12:00:05 UTC"' in signed_in(alice).get("/account/").content.decode()
    page = client_in_kolkata(alice).get("/account/").content.decode()
    assert (
        '<time datetime="2026-03-01T12:00:05+00:00" title="2026-03-01 17:30:05 IST / 2026-03-01 12:00:05 UTC">' in page
    )
    assert timezone.get_current_timezone_name() == "UTC"  # doesn't leak into the thread's next request
    User.objects.filter(pk=bob.pk).update(created_at=datetime(2026, 2, 28, 20, 0, tzinfo=UTC))
    assert "28 Feb 2026" in signed_in(bob).get("/account/").content.decode()
    assert "1 Mar 2026" in client_in_kolkata(bob).get("/account/").content.decode()


@pytest.fixture
def event_at_noon(alice):
    """A usage event at noon UTC."""
    key = make_key(alice)
    event = make_event(key)
    KeyUsage.objects.filter(pk=event.pk).update(created_at=AT_NOON)
    return event


def event_ids(client, **filters):
    return [event.pk for event in client.get("/account/usage/requests/", filters).context["page"].rows]


def test_the_request_log_filters_and_shows_times_in_the_users_time_zone(alice, event_at_noon):
    client = client_in_kolkata(alice)
    page = client.get("/account/usage/requests/", {"since": "2026-03-01T17:30", "until": "2026-03-01T17:31"})
    assert [event.pk for event in page.context["page"].rows] == [event_at_noon.pk]
    assert "2026-03-01 17:30:05.000</time>" in text_of(page)
    assert 'Time<span class="sub">Asia/Kolkata</span>' in text_of(page)
    assert "2026-03-01 17:30" in text_of(page)
    assert event_ids(client, since="2026-03-01T12:00", until="2026-03-01T12:01") == []
    assert "2026-03-01 17:30:05 IST</time>" in text_of(client.get(f"/account/usage/requests/{event_at_noon.pk}/"))


def test_chart_links_mean_the_same_hour_in_every_time_zone(alice, event_at_noon):
    url = RequestLinks("usage:own_requests", {}).slot_url(AT_NOON.replace(minute=0, second=0))
    filters = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    for client in (signed_in(alice), client_in_kolkata(alice)):
        assert event_ids(client, **filters) == [event_at_noon.pk]
    # The browser's date picker only supports local times, so the fields are filled with those.
    fields = fields_of(client.get(url).content.decode(), "since")
    assert fields["since"] == ["2026-03-01T17:30:00"]
    assert event_ids(client, since=fields["since"][0], until=fields["until"][0]) == [event_at_noon.pk]


def test_exports_use_utc(alice, event_at_noon):
    lines = b"".join(client_in_kolkata(alice).get("/account/usage/requests/", {"format": "csv"}))
    assert b"2026-03-01T12:00:05.000+00:00" in lines


def test_dates_in_forms_are_in_the_users_time_zone(alice):
    User.objects.filter(pk=alice.pk).update(time_zone="America/Los_Angeles")
    client = signed_in(User.objects.get(pk=alice.pk))
    day = timezone.localdate() + timedelta(days=40)
    fields = opened(client, "/account/keys/new/", "name") | {
        "name": "k",
        "expiry": "custom",
        "expires_at": day.isoformat(),
    }
    client.post("/account/keys/new/", fields)
    expires = APIKey.objects.get().expires_at
    assert (
        expires.astimezone(User.objects.get(pk=alice.pk).zone).strftime("%Y-%m-%d %H:%M")
        == f"{day + timedelta(days=1)} 00:00"
    )


def test_staff_enter_times_in_their_own_time_zone(sue, alice, pro):
    client = client_in_kolkata(sue)
    url = f"/users/{alice.pk}/tier/"
    page = client.get(url)
    assert '<span class="muted zone">Asia/Kolkata</span>' in text_of(page)
    fields = fields_of(page.content.decode(), "tier_until") | {"tier": pro.pk, "tier_until": "2099-01-01T00:00"}
    assert client.post(url, fields).status_code == 302
    alice.refresh_from_db()
    assert alice.tier_until == datetime(2098, 12, 31, 18, 30, tzinfo=UTC)
    assert fields_of(client.get(url).content.decode(), "tier_until")["tier_until"] == ["2099-01-01T00:00:00"]


@pytest.mark.parametrize("text", ["9999-12-31T23:59", "0001-01-01T00:00", "1999-12-31T23:59", "x", "2027-13-01T00:00"])
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Los_Angeles"])
def test_times_out_of_range_are_field_errors(sue, alice, pro, zone, text):
    User.objects.filter(pk=sue.pk).update(time_zone=zone)
    client, url = signed_in(User.objects.get(pk=sue.pk)), f"/users/{alice.pk}/tier/"
    response = client.post(url, opened(client, url, "tier_until") | {"tier": pro.pk, "tier_until": text})
    assert response.status_code in {200, 400}
    assert list(response.context["form"].errors) == ["tier_until"]
    assert text in response.content.decode()


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Los_Angeles"])
def test_lists_can_be_filtered_by_the_first_and_last_supported_day(sue, zone, day):
    User.objects.filter(pk=sue.pk).update(time_zone=zone)
    client = signed_in(User.objects.get(pk=sue.pk))
    for name in ("joined_from", "joined_to"):
        assert client.get("/users/", {name: day}).status_code == 200


def test_the_joined_filter_uses_the_time_zone_of_the_staff_user(sue, alice):
    User.objects.filter(pk=alice.pk).update(created_at=datetime(2026, 2, 28, 20, 0, tzinfo=UTC))
    client = client_in_kolkata(sue)
    assert "alice" in text_of(client.get("/users/?joined_from=2026-03-01&joined_to=2026-03-01"))
    assert "alice@" not in text_of(client.get("/users/?joined_from=2026-02-28&joined_to=2026-02-28"))


LISTS = (
    "/users/", "/admin/apikeys/apikey/", "/admin/apikeys/hygiene/", "/account/keys/",
    "/account/usage/requests/", "/admin/admin/logentry/",
)  # fmt: skip


def test_lists_have_the_chosen_number_of_rows(sue, free):
    User.objects.filter(pk=sue.pk).update(rows_per_page=25)
    sue.refresh_from_db()
    for number in range(26):
        make_user(f"user{number}", tier=free)
        key = make_key(sue, f"k{number}", last4=f"{number:04}")
        make_event(key)
    client = signed_in(sue)
    for number in range(26):
        fields = opened(client, "/account/", "username")
        client.post("/account/", fields | {"name": f"Sue {number}"})
    sizes = {url: row_count(client.get(url)) for url in LISTS}
    assert sizes == dict.fromkeys(sizes, 25)
    User.objects.filter(pk=sue.pk).update(rows_per_page=100)
    assert {row_count(client.get(url)) for url in sizes} <= {26, 27}


def row_count(response):
    context = response.context
    if "cl" in context:
        return len(context["cl"].result_list)
    return len(getattr(context["page"], "rows", None) or context["page"].object_list)


def test_the_list_of_limited_users_has_the_chosen_number_of_rows(sue, free):
    User.objects.filter(pk=sue.pk).update(rows_per_page=25)
    now = timezone.now()
    Denial.objects.bulk_create(
        Denial(
            key=f"k{number}",
            owner=f"user:{number}",
            limit=1,
            period=60,
            window="rolling",
            first_at=now,
            last_at=now,
            count=1,
        )
        for number in range(26)
    )
    page = signed_in(User.objects.get(pk=sue.pk)).get("/admin/ratelimits/limited/")
    assert len(page.context["rows"]) == 25


def test_the_theme_button_changes_the_theme_and_returns_to_the_page(alice):
    client = signed_in(alice)
    fields = fields_of(client.get("/account/keys/?show=ended").content.decode(), "next")
    response = client.post("/account/theme/", fields | {"theme": "light"})
    assert response["Location"] == "/account/keys/?show=ended"
    page = client.get("/account/").content.decode()
    assert '<meta name="color-scheme" content="light">' in page
    assert 'name="theme" value="dark"' in page.replace("\n", "").replace("          ", " ")
    client.post("/account/theme/", {"theme": "auto"})
    assert '<meta name="color-scheme" content="light dark">' in client.get("/account/").content.decode()


def test_unknown_themes_and_redirects_to_other_sites_are_rejected(alice):
    client = signed_in(alice)
    assert client.post("/account/theme/", {"theme": "pink"}).status_code == 400
    assert client.post("/account/theme/", {"theme": "dark", "next": "https://evil.example/"})["Location"] == "/"
    assert client.post("/account/theme/", {"theme": "dark", "next": "//evil.example/"})["Location"] == "/"


def test_visitors_get_their_system_theme(client):
    page = client.get("/accounts/login/").content.decode()
    assert '<meta name="color-scheme" content="light dark">' in page
    assert "theme-toggle" not in page


def test_an_invalid_time_in_a_link_is_an_error_and_stays_in_the_field(alice):
    response = signed_in(alice).get("/account/usage/requests/", {"since": "2026-13-01T12:00Z"})
    assert response.status_code == 400
    assert 'value="2026-13-01T12:00Z"' in response.content.decode()
