"""Periods are entered as a number and a unit, and shown in words."""

from __future__ import annotations

import pytest
from django.template import Context, Template

from accounts.management.groups import create_groups
from apikeys.models import APIKey
from config.base.periods import IN_RANGE, PeriodFormField, PeriodWidget
from config.base.text import period_in_full
from ratelimits.models import RateLimit
from tests.accounts.people import signed_in
from tests.pages import fields_of, opened, text_of
from tests.rows import make_key, make_limit, make_staff

pytestmark = pytest.mark.django_db

LIMIT = {"path": "/a", "method": "", "limit": "5", "window": "rolling", "mode": "enforce", "name": ""}


@pytest.mark.parametrize(
    ("seconds", "number", "unit"),
    [(1, 1, 1), (59, 59, 1), (60, 1, 60), (90, 90, 1), (5400, 90, 60), (86_400, 1, 86_400), (2_678_400, 31, 86_400)],
)
def test_periods_are_shown_in_the_largest_unit_without_a_remainder(seconds, number, unit):
    assert PeriodWidget().decompress(seconds) == [number, unit]
    assert PeriodFormField().clean([str(number), str(unit)]) == seconds


def test_period_in_full():
    assert [period_in_full(seconds) for seconds in (1, 60, 90, 604_800)] == [
        "1 second", "1 minute", "90 seconds", "1 week",
    ]  # fmt: skip


def test_the_label_belongs_to_the_number_and_the_unit_has_its_own():
    assert PeriodWidget().id_for_label("id_period") == "id_period_0"
    assert PeriodWidget().id_for_label("") == ""
    html = PeriodFormField().widget.render("period", 300, {"id": "id_period", "aria-describedby": "help"})
    assert 'name="period" value="5"' in html
    assert 'name="period_unit"' in html
    assert 'aria-label="Period, unit"' in html
    assert html.count('aria-describedby="help"') == 2
    assert '<option value="60" selected>minutes</option>' in html


@pytest.mark.parametrize("path", ["/admin/ratelimits/ratelimit/add/", "/users/{user}/limits/add/"])
@pytest.mark.parametrize(
    ("number", "unit", "seconds"), [("2", "3600", 7200), ("31", "86400", 2_678_400), ("90", "", 90)]
)
def test_a_limit_is_created_with_a_number_and_a_unit(staff_client, alice, free, path, number, unit, seconds):
    owner = {"tier": free.pk} if path.startswith("/admin") else {}
    staff_client.post(path.format(user=alice.pk), LIMIT | owner | {"period": number, "period_unit": unit})
    assert RateLimit.objects.get().period == seconds


@pytest.mark.parametrize("path", ["/admin/ratelimits/ratelimit/add/", "/users/{user}/limits/add/"])
@pytest.mark.parametrize(
    ("number", "unit", "error"),
    [
        ("32", "86400", IN_RANGE),
        ("0", "60", IN_RANGE),
        ("-1", "1", IN_RANGE),
        ("1", "7", "Choose seconds, minutes, hours or days."),
        ("1.5", "3600", "Enter a whole number."),
        ("9" * 5000, "86400", "Enter a whole number."),
        ("", "60", "This field is required."),
    ],
)
def test_invalid_values_are_field_errors_and_are_kept(staff_client, alice, free, path, number, unit, error):
    owner = {"tier": free.pk} if path.startswith("/admin") else {}
    response = staff_client.post(path.format(user=alice.pk), LIMIT | owner | {"period": number, "period_unit": unit})
    form = response.context.get("form") or response.context["adminform"].form
    assert form.errors["period"] == [error]
    assert not RateLimit.objects.exists()
    sent = fields_of(response.content.decode(), "period")
    assert sent["period"] == [number]
    assert unit == "7" or sent["period_unit"] == [unit]


def test_saving_a_form_unchanged_changes_nothing(staff_client, free):
    limit = make_limit(free, period=7200)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/change/"
    form = opened(staff_client, url)
    assert (form["period"], form["period_unit"]) == (["2"], ["3600"])
    before = limit.updated_at
    staff_client.post(url, form)
    limit.refresh_from_db()
    assert (limit.period, limit.updated_at) == (7200, before)


def test_changes_are_recorded_in_words(staff_client, free):
    limit = make_limit(free, period=7200)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/change/"
    staff_client.post(url, opened(staff_client, url) | {"period": "1", "period_unit": "60"})
    page = text_of(staff_client.get(f"/admin/ratelimits/ratelimit/{limit.pk}/history/"))
    assert "2 hours</del> → <ins>1 minute</ins>" in page


def test_changes_by_another_user_are_kept_or_reported_as_conflict(staff_client, free):
    limit = make_limit(free, period=7200)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/change/"
    form = opened(staff_client, url)
    RateLimit.objects.filter(pk=limit.pk).update(period=300)
    staff_client.post(url, form | {"limit": "77"})
    limit.refresh_from_db()
    assert (limit.limit, limit.period) == (77, 300)
    response = staff_client.post(url, form | {"period": "9", "period_unit": "60"})
    assert "changed this to “5 minutes”" in text_of(response)
    assert fields_of(response.content.decode(), "period")["period"] == ["9"]


@pytest.mark.parametrize(
    "page", ["/account/keys/new/", "/account/keys/{key}/edit/", "/admin/apikeys/apikey/{key}/change/"]
)
def test_periods_of_keys_have_units(alice, sue, page):
    key = make_key(alice, "old")
    client, url = signed_in(sue if page.startswith("/admin") else alice), page.format(key=key.pk)
    client.post(
        url, opened(client, url) | {"name": "new", "rate_limit": "5", "rate_period": "3", "rate_period_unit": "3600"}
    )
    assert APIKey.objects.get(name="new").rate_period == 3 * 3600


def test_an_empty_period_of_a_key_stays_empty_with_any_unit(alice):
    key = make_key(alice, "old")
    client, url = signed_in(alice), f"/account/keys/{key.pk}/edit/"
    client.post(url, opened(client, url) | {"name": "new", "rate_period_unit": "86400"})
    key.refresh_from_db()
    assert (key.name, key.rate_period) == ("new", None)


def test_auditors_see_the_period_in_words(free):
    create_groups()
    auditor = make_staff("auditor", "ratelimits.view_ratelimit")
    limit = make_limit(free, period=7200)
    page = text_of(signed_in(auditor).get(f"/admin/ratelimits/ratelimit/{limit.pk}/change/"))
    assert "2 hours" in page
    assert "7200" not in page.replace("127200", "")
    assert "7,200" not in page


def test_what_if_accepts_seconds_or_a_number_with_a_unit(staff_client, free):
    data = {"tier": free.pk, "path": "/a", "method": "", "limit": "5", "window": "rolling"}
    for period in ({"period": "7200"}, {"period": "2", "period_unit": "3600"}):
        page = text_of(staff_client.get("/admin/ratelimits/what-if/", data | period))
        assert "5 per 2 hours" in page


def test_the_period_filter_accepts_none():
    assert Template("{% load gatehouse %}{{ x|period }}").render(Context({"x": None})) == ""


def test_a_copied_tier_limit_keeps_its_period(staff_client, alice, free):
    limit = make_limit(free, "/search", limit=5, period=10)
    url = f"/users/{alice.pk}/limits/add/?from={limit.pk}"
    form = opened(staff_client, url, "path")
    assert (form["period"], form["period_unit"]) == (["10"], ["1"])
    staff_client.post(url, form | {"limit": "50"})
    assert alice.rate_limits.get().in_words == "50 per 10 seconds"
