"""A user's tier, its end and the billing day, on the form in the admin and on the one at /users/."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from tests.accounts.people import history
from tests.pages import fields_of, opened, text_of

pytestmark = pytest.mark.django_db
FORMS = ("/admin/accounts/user/{}/change/", "/users/{}/edit/")
UNTIL = "2031-01-31T00:00:00"


@pytest.fixture(params=FORMS)
def url(request, alice):
    return request.param.format(alice.pk)


def test_changes_are_saved_and_recorded(staff_client, alice, url, pro):
    staff_client.post(url, opened(staff_client, url) | {"tier": pro.pk, "tier_until": UNTIL, "billing_day": "15"})
    alice.refresh_from_db()
    assert (alice.tier, alice.billing_day) == (pro, 15)
    assert alice.tier_until == datetime(2031, 1, 31, tzinfo=UTC)
    fields = {change["field"]: change["new"] for change in history(alice)[0].values}
    assert fields == {"tier": "pro", "tier until": "2031-01-31 00:00:00 UTC", "billing day": "15"}


@pytest.mark.parametrize(
    ("changes", "name", "error"),
    [
        ({"tier_until": "2020-01-01T00:00:00"}, "tier_until", "Enter a time in the future."),
        ({"tier": "", "tier_until": UNTIL}, "tier_until", "Choose a tier, or clear this time."),
        ({"tier_until": "soon"}, "tier_until", "Enter a valid date and time, for example 2027-01-31 00:00."),
        ({"billing_day": "32"}, "billing_day", "31"),
        ({"billing_day": "0"}, "billing_day", "31"),
        ({"billing_day": "x"}, "billing_day", "31"),
    ],
)
def test_invalid_values_are_field_errors_and_are_kept(staff_client, alice, url, changes, name, error):
    response = staff_client.post(url, opened(staff_client, url) | changes)
    form = response.context.get("form") or response.context["adminform"].form
    assert error in " ".join(form.errors[name])
    assert fields_of(response.content.decode(), "username")[name] == [changes[name]]
    assert history(alice) == []


def test_an_end_in_the_past_can_be_kept(staff_client, alice, url):
    past = timezone.now() - timedelta(days=1)
    User.objects.filter(pk=alice.pk).update(tier_until=past.replace(microsecond=0))
    staff_client.post(url, opened(staff_client, url) | {"name": "Alice A."})
    alice.refresh_from_db()
    assert alice.name == "Alice A."
    assert alice.tier_until == past.replace(microsecond=0)


def test_a_missing_billing_day_is_kept(staff_client, alice, url):
    User.objects.filter(pk=alice.pk).update(billing_day=9)
    form = {name: value for name, value in opened(staff_client, url).items() if name != "billing_day"}
    staff_client.post(url, form | {"name": "Alice A."})
    alice.refresh_from_db()
    assert (alice.name, alice.billing_day) == ("Alice A.", 9)


def test_changes_by_another_user_are_kept_or_reported_as_conflict(staff_client, alice, url, pro):
    form = opened(staff_client, url)
    User.objects.filter(pk=alice.pk).update(tier=pro, billing_day=20)
    staff_client.post(url, form | {"name": "Alice A."})
    alice.refresh_from_db()
    assert (alice.tier, alice.billing_day) == (pro, 20)
    response = staff_client.post(url, form | {"billing_day": "5"})
    assert "changed this to “20”" in text_of(response)


@pytest.mark.parametrize("page", ["/admin/accounts/user/add/", "/users/add/"])
def test_a_new_user_can_have_an_end_and_a_billing_day(staff_client, page, free):
    values = {"name": "Olu", "username": "olu", "email": "olu@example.com", "tier_until": UNTIL, "billing_day": "15"}
    staff_client.post(page, opened(staff_client, page) | values)
    user = User.objects.get(username="olu")
    assert (user.tier, user.billing_day, user.tier_until.year) == (free, 15, 2031)
