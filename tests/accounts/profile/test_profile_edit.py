"""/account/: what users see and edit."""

from __future__ import annotations

import pytest

from accounts.models import User
from ratelimits.models import RateLimit
from tests.accounts.people import history, messages, signed_in
from tests.pages import text_of
from tests.rows import make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def test_the_home_page_redirects_visitors_users_and_staff(client, alice, sue):
    assert client.get("/")["Location"] == "/accounts/login/"
    assert signed_in(alice).get("/")["Location"] == "/account/"
    assert signed_in(sue).get("/")["Location"] == "/admin/"
    assert client.post("/").status_code == 405


def test_visitors_sign_in_and_return_to_the_page(client, db):
    response = client.get("/account/")
    assert response["Location"] == "/accounts/login/?next=/account/"


def test_a_user_changes_their_name_and_username(alice):
    response = signed_in(alice).post("/account/", {"name": "Alice Two", "username": "alice_2"}, follow=True)
    assert messages(response) == ["Profile updated."]
    alice.refresh_from_db()
    assert (alice.name, alice.username) == ("Alice Two", "alice_2")
    assert {change["field"] for change in history(alice)[0].values} == {"name", "username"}


def test_changing_the_name_keeps_the_session(alice):
    client = signed_in(alice)
    client.post("/account/", {"name": "Alice Two", "username": "alice"})
    assert client.get("/account/").status_code == 200


def test_saving_without_changes_adds_no_history(alice):
    response = signed_in(alice).post("/account/", {"name": "Alice", "username": "alice"}, follow=True)
    assert messages(response) == []
    assert history(alice) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "x"), ("name", "nul\0"), ("username", "bob"), ("username", "Bob"), ("username", "a b")],
)
def test_invalid_values_are_field_errors_and_the_top_bar_keeps_the_old_name(alice, bob, field, value):
    client = signed_in(alice)
    response = client.post("/account/", {"name": "Alice", "username": "alice"} | {field: value})
    assert list(response.context["form"].errors) == [field]
    assert response.context["user"].username == "alice"
    alice.refresh_from_db()
    assert (alice.name, alice.username) == ("Alice", "alice")


@pytest.mark.parametrize("field", ["tier", "tier_id", "is_staff", "is_superuser", "user", "pk", "email", "password"])
def test_fields_that_are_not_on_the_form_are_ignored(alice, bob, field):
    pro = Tier.objects.create(name="pro")
    value = {"email": "x@example.com", "user": str(bob.pk), "pk": str(bob.pk)}.get(field, str(pro.pk))
    signed_in(alice).post("/account/", {"name": "Alice Two", "username": "alice", field: value})
    alice.refresh_from_db()
    bob.refresh_from_db()
    assert (alice.name, alice.email, alice.tier.name) == ("Alice Two", "alice@example.com", "free")
    assert not alice.is_privileged
    assert alice.check_password("correct horse 1")
    assert bob.name == "Bob"


def test_the_page_shows_the_tier_and_its_rate_limits(alice):
    RateLimit.objects.create(tier=alice.tier, path="/orders/*", limit=1234, period=60)
    page = signed_in(alice).get("/account/").content.decode()
    assert "1,234" in page
    assert "/orders/*" in page
    assert "100 per minute" in page


def test_a_user_without_a_tier_sees_that_the_default_applies(alice):
    User.objects.filter(pk=alice.pk).update(tier=None)
    assert "No tier, so the default rate limit applies." in signed_in(alice).get("/account/").content.decode()


@pytest.mark.parametrize("count", [1, 9])
def test_the_number_of_queries_does_not_grow_with_rate_limits(alice, django_assert_num_queries, count):
    for n in range(count):
        RateLimit.objects.create(tier=alice.tier, path=f"/p{n}", limit=1, period=60)
    client = signed_in(alice)
    with django_assert_num_queries(7):
        client.get("/account/")


def test_pages_of_a_signed_in_user_are_not_cached(alice):
    assert signed_in(alice).get("/account/")["Cache-Control"] == "no-store"


def test_staff_can_edit_their_own_profile(free):
    steve = make_staff("steve")
    signed_in(steve).post("/account/", {"name": "Steven", "username": "steve"})
    steve.refresh_from_db()
    assert steve.name == "Steven"


def test_users_see_what_their_tier_allows_keys_to_do_and_how_many_they_can_have(client, alice, free):
    client.force_login(alice)
    page = text_of(client.get("/account/"))
    assert "<dt>Access</dt><dd>everything</dd>" in page
    assert "<dt>Maximum keys</dt><dd>unlimited</dd>" in page
    assert "on any date, or never" in page
    free.access.all().delete()
    free.access.create(action="read", resource="/orders/*", host="api.example.com")
    type(free).objects.filter(pk=free.pk).update(max_keys=1200, max_key_days=90)
    page = text_of(client.get("/account/"))
    assert "<dd>read /orders/* at api.example.com</dd>" in page
    assert "<dd>1,200</dd>" in page
    assert "within 90 days" in page
