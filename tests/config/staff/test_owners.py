"""Names of and links to the owners of rate limit counters, as on the “Recently rate limited” page."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import RequestFactory
from django.utils import timezone

from accounts.signin import throttle
from config.staff.owners import owners_of
from ratelimits.models import Denial
from ratelimits.recorder import owner_of
from tests.pages import text_of
from tests.rows import make_key

pytestmark = pytest.mark.django_db


def named(owner):
    found = owners_of([owner])[owner]
    return found.name, found.url, found.note


def test_users_and_keys_are_shown_by_name_with_a_link(alice):
    key = make_key(alice, "web shop")
    assert named(f"user:{alice.pk}") == ("alice", alice.get_absolute_url(), "")
    assert named(f"key:{key.pk}") == ("web shop", key.get_absolute_url(), "API key of alice")


def test_addresses_are_shown_as_they_are():
    assert named("addr:192.0.2.1") == ("192.0.2.1", "", "")
    assert named("addr:2001:db8::") == ("2001:db8::", "", "")


@pytest.mark.parametrize(
    "owner", ["user:999", "key:nonsense", f"key:{uuid4()}", "user:x", "odd", "", "user:" + "9" * 30]
)
def test_unknown_owners_are_shown_as_they_are(owner):
    assert named(owner) == (owner, "", "")


def throttle_budgets(alice):
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
    return {
        throttle.wrong_passwords(request, alice): ("alice", "Sign-in from 192.0.2.7"),
        throttle.wrong_passwords(request, "nobody"): ("192.0.2.7", "Sign-in"),
        throttle.wrong_passwords_of_anyone(request): ("192.0.2.7", "Sign-in"),
        throttle.wrong_codes(alice): ("alice", "Sign-in codes"),
        throttle.code_use(alice, "123456"): ("alice", "Sign-in codes"),
        throttle.password_changes(alice): ("alice", "Password changes"),
        throttle.sign_ups(request): ("192.0.2.7", "Sign-up"),
        throttle.reset_requests(request): ("192.0.2.7", "Password resets"),
    }


def test_throttled_attempts_show_the_user_and_the_kind(alice):
    for budget, (name, note) in throttle_budgets(alice).items():
        found = owners_of([owner_of(budget)])[owner_of(budget)]
        assert (found.name, found.note) == (name, note)
    emails = owner_of(throttle.emails_to("a@example.com"))
    assert owners_of([emails])[emails].note == "Emails to one address"


def test_the_page_shows_names_and_links(staff_client, alice):
    key, now = make_key(alice, "web shop"), timezone.now()
    values = {"limit": 1, "period": 60, "window": "rolling", "first_at": now, "last_at": now, "count": 42}
    Denial.objects.create(key=f"key:{key.pk}", owner=f"key:{key.pk}", name="key", **values)
    sign_in = f"sign-in:account:{alice.pk}:addr:192.0.2.7"
    Denial.objects.create(key=sign_in, owner=sign_in, name="", **values)
    page = text_of(staff_client.get("/admin/ratelimits/limited/"))
    assert f'<a href="{key.get_absolute_url()}">web shop</a>' in page
    assert f'<a href="{alice.get_absolute_url()}">alice</a> <span class="sub">Sign-in from 192.0.2.7</span>' in page
    assert "Attempts" in page
