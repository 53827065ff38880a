"""The filters for a user and a key suggest some as you type, to staff who may see them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from apikeys.models import APIKey
from tests.conftest import make_user
from tests.rows import make_key, make_staff

pytestmark = pytest.mark.django_db

USERS, KEYS = "/admin/usage/suggest/users/", "/admin/usage/suggest/keys/"
LOG, TOTALS = "/admin/usage/requests/", "/admin/usage/"


def suggested(client, url, text):
    return client.post(url, {"q": text}).json()["suggestions"]


@pytest.fixture
def clerk(client):
    """clerk(*permissions) signs in a member of staff with these, besides the one for usage."""

    def signed_in(*names):
        user = make_staff("clerk", "apikeys.view_keyusage", *names)
        client.force_login(user)
        return client

    return signed_in


def test_users_are_found_by_name_username_and_email(staff_client, alice, bob):
    User.objects.filter(pk=alice.pk).update(name="Ada", name_folded="ada")
    expected = [{"value": "alice", "label": "Ada", "about": "alice · alice@example.com"}]
    for text in ("ada", "ALICE", "alice@ex"):
        assert suggested(staff_client, USERS, text) == expected
    assert suggested(staff_client, USERS, "nobody") == []


def test_keys_are_found_by_name_owner_and_secret(staff_client, alice, bob):
    key = make_key(alice, "web shop")
    make_key(bob, "nightly export")
    expected = [{"value": str(key.pk), "label": "web shop", "about": f"{key.shown_as} · alice · active"}]
    for text in ("web", "alice", key.prefix, key.last4, key.shown_as):
        assert suggested(staff_client, KEYS, text) == expected


def test_a_deleted_user_and_a_deleted_key_are_found(staff_client, alice):
    key = make_key(alice, "web shop")
    APIKey.objects.filter(pk=key.pk).delete()
    User.objects.filter(pk=alice.pk).delete()
    assert [row["value"] for row in suggested(staff_client, KEYS, "web")] == [str(key.pk)]
    assert [row["value"] for row in suggested(staff_client, USERS, "alice")] == ["alice"]


def test_there_are_a_few_at_most_in_a_fixed_number_of_queries(staff_client, alice, django_assert_max_num_queries):
    for number in range(12):
        make_key(make_user(f"person{number}"), f"person {number}")
    with django_assert_max_num_queries(16):
        assert len(suggested(staff_client, USERS, "person")) == 8
        assert len(suggested(staff_client, KEYS, "person")) == 8


@pytest.mark.parametrize("text", ["", "  ", "\0", "x" * 5000, "%", "…", "("])
def test_whatever_is_typed_has_an_answer(staff_client, alice, text):
    for url in (USERS, KEYS):
        assert staff_client.post(url, {"q": text}).status_code == 200


@pytest.mark.parametrize(("url", "permission"), [(USERS, "view_user"), (KEYS, "view_apikey")])
def test_only_staff_who_may_see_them_get_suggestions(clerk, alice, url, permission):
    assert Client().post(url, {"q": "a"}).status_code == 302
    holder = Client()
    holder.force_login(alice)
    assert holder.post(url, {"q": "a"}).status_code in {302, 403}
    client = clerk()
    assert client.post(url, {"q": "a"}).status_code == 403
    assert url not in client.get(LOG).content.decode()
    User.objects.get(username="clerk").user_permissions.add(Permission.objects.get(codename=permission))
    assert client.post(url, {"q": "a"}).status_code == 200
    assert url in client.get(LOG).content.decode()
    assert (url in client.get(TOTALS).content.decode()) == (url == USERS)


def test_the_query_does_not_get_into_a_url(staff_client):
    assert staff_client.get(KEYS, {"q": "a"}).status_code == 405


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_key_is_chosen_by_keyboard(visit, sue):
    key = make_key(sue, "web shop")
    page = visit(sue)
    page.goto(LOG)
    page.locator("details.filter > summary", has_text="API key").click()
    page.wait_for_selector("input[name=key]:focus")
    page.keyboard.type("web")
    page.get_by_role("option", name="web shop").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("input[name=key]").input_value() == str(key.pk)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**key={key.pk}*")
    assert page.locator(".chip").first.inner_text().startswith("API key: web shop")
    page.locator("details.filter > summary", has_text="User").click()
    page.wait_for_selector("input[name=user]:focus")
    page.keyboard.type("sue")
    page.get_by_role("option", name="sue").click()
    assert page.locator("input[name=user]").input_value() == "sue"
    assert page.locator("input[name=user]").is_visible()
    page.locator("input[name=user]").fill("su")
    page.get_by_role("option", name="sue").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    assert page.locator("input[name=user]").get_attribute("aria-activedescendant") is None
    page.locator("input[name=user]").fill("nobody at all")
    page.wait_for_timeout(300)
    page.keyboard.press("Escape")
    assert page.locator(".suggested:visible").count() == 0
