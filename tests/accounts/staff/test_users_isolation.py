"""Users get the same response for someone else's keys and sessions as for ones that don't exist."""

from __future__ import annotations

import re
import uuid

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from accounts.models import User
from tests.accounts.people import make_key, signed_in
from tests.accounts.signin.steps import make_verified, sign_in

pytestmark = pytest.mark.django_db

KEY_PAGES = ("", "edit/", "disable/", "enable/", "expire/", "revoke/", "rotate/")


def comparable(response):
    """Status and page, without what differs between requests."""
    page = re.sub(r'value="[A-Za-z0-9]{64}"|<code[^>]*>[0-9a-f]{12}</code>|[0-9a-f]{12}', "", response.content.decode())
    return response.status_code, page


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("page", KEY_PAGES)
def test_another_users_key_looks_like_a_missing_one(alice, bob, method, page):
    client, bobs, missing = signed_in(alice), make_key(bob).pk, uuid.uuid4()
    answer = comparable(getattr(client, method)(f"/account/keys/{bobs}/{page}"))
    answer_for_missing = comparable(getattr(client, method)(f"/account/keys/{missing}/{page}"))
    assert answer[0] in {404, 405}
    assert [part.replace(str(bobs)[-12:], "") for part in map(str, answer)] == [
        part.replace(str(missing)[-12:], "") for part in map(str, answer_for_missing)
    ]


def test_another_users_session_cannot_be_ended(free, alice):
    make_verified("dora")
    browser = Client()
    sign_in(browser, "dora")
    session = UserSession.objects.get(user__username="dora")
    client = signed_in(alice)
    bobs = client.post(f"/accounts/sessions/{session.pk}/end/").status_code
    assert bobs == client.post(f"/accounts/sessions/{session.pk + 999}/end/").status_code
    assert browser.get("/account/").status_code == 200


@pytest.mark.parametrize("name", ["user", "pk", "id", "user_id", "username"])
def test_another_users_id_in_the_query_or_form_is_ignored(alice, bob, name):
    client = signed_in(alice)
    assert "Alice" in client.get(f"/account/?{name}={bob.pk}").content.decode()
    client.post(f"/account/?{name}={bob.pk}", {"name": "Alice Two", "username": "alice", name: "alice"})
    client.post(f"/account/picture/remove/?{name}={bob.pk}")
    bob.refresh_from_db()
    assert (bob.name, bob.username) == ("Bob", "bob")
    assert User.objects.get(pk=alice.pk).name == "Alice Two"
