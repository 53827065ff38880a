"""The window of a key's rate limit, on the pages of owners and staff."""

from __future__ import annotations

import pytest

from apikeys.models import APIKey
from config.base.periods import MAX_PERIOD
from ratelimits.budgets import WEEK
from tests.accounts.people import signed_in
from tests.apikeys.pages.key_form import filled_in
from tests.pages import text_of
from tests.rows import make_key

pytestmark = pytest.mark.django_db
NEW = "/account/keys/new/"


def limit_of(key):
    key.refresh_from_db()
    return key.rate_limit, key.rate_window, key.rate_period


@pytest.mark.parametrize(
    ("window", "period", "stored", "words"),
    [
        ("", "60", ("rolling", 60), "50 per minute, in addition"),
        ("fixed", "86400", ("fixed", 86400), "50 per day (UTC), in addition"),
        ("week", "", ("week", WEEK), "50 per week, in addition"),
        ("month", "60", ("month", MAX_PERIOD), "50 per month, in addition"),
    ],
)
def test_key_is_created_with_a_window(alice, window, period, stored, words):
    owner = signed_in(alice)
    owner.post(NEW, {"name": "k", "rate_limit": "50", "rate_window": window, "rate_period": period})
    key = APIKey.objects.get()
    assert limit_of(key) == (50, *stored)
    page = text_of(owner.get(f"/account/keys/{key.pk}/"))
    assert words in " ".join(page.split()).replace(" , ", ", ")


@pytest.mark.parametrize("window", ["total", "fortnight"])
def test_other_windows_are_form_errors(alice, window):
    page = signed_in(alice).post(NEW, {"name": "k", "rate_limit": "5", "rate_window": window, "rate_period": "60"})
    assert "Select a valid choice." in page.content.decode()
    assert not APIKey.objects.exists()


def test_edit_changes_the_window_and_its_period(alice):
    owner, key = signed_in(alice), make_key(alice, rate_limit=5, rate_period=60)
    url = f"/account/keys/{key.pk}/edit/"
    owner.post(url, {"name": "k", "rate_limit": "5", "rate_window": "week", "rate_period": "60"})
    assert limit_of(key) == (5, "week", WEEK)
    owner.post(url, {"name": "k", "rate_limit": "", "rate_window": "week", "rate_period": str(WEEK)})
    assert limit_of(key) == (None, "week", None)
    owner.post(url, {"name": "k", "rate_limit": "6", "rate_period": ""})  # as a script that omits the window
    assert limit_of(key) == (6, "week", WEEK)


def test_staff_can_set_the_window(staff_client, alice):
    key = make_key(alice)
    url = f"/admin/apikeys/apikey/{key.pk}/change/"
    staff_client.post(url, filled_in(key, rate_limit="5", rate_window="month", rate_period="60"))
    assert limit_of(key) == (5, "month", MAX_PERIOD)
    staff_client.post(url, filled_in(key, rate_limit="5", rate_window="rolling", rate_period="60"))
    assert limit_of(key) == (5, "rolling", 60)
