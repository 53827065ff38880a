"""What belongs to someone else gets the same response as what doesn't exist."""

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


def told(response):
    """Status and page, without what differs between any two requests."""
    page = re.sub(r'value="[A-Za-z0-9]{64}"|<code[^>]*>[0-9a-f]{12}</code>|[0-9a-f]{12}', "", response.content.decode())
    return response.status_code, page


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("page", KEY_PAGES)
def test_anothers_key_is_no_more_than_a_missing_one(alice, bob, method, page):
    client, theirs, nobodys = signed_in(alice), make_key(bob).pk, uuid.uuid4()
    his_answer = told(getattr(client, method)(f"/account/keys/{theirs}/{page}"))
    no_answer = told(getattr(client, method)(f"/account/keys/{nobodys}/{page}"))
    assert his_answer[0] in {404, 405}
    assert [part.replace(str(theirs)[-12:], "") for part in map(str, his_answer)] == [
        part.replace(str(nobodys)[-12:], "") for part in map(str, no_answer)
    ]


def test_anothers_session_is_not_ended(free, alice):
    make_verified("dora")
    hers = Client()
    sign_in(hers, "dora")
    session = UserSession.objects.get(user__username="dora")
    client = signed_in(alice)
    theirs = client.post(f"/accounts/sessions/{session.pk}/end/").status_code
    assert theirs == client.post(f"/accounts/sessions/{session.pk + 999}/end/").status_code
    assert hers.get("/account/").status_code == 200


@pytest.mark.parametrize("name", ["user", "pk", "id", "user_id", "username"])
def test_naming_someone_else_in_the_query_or_the_form_changes_nothing(alice, bob, name):
    client = signed_in(alice)
    assert "Alice" in client.get(f"/account/?{name}={bob.pk}").content.decode()
    client.post(f"/account/?{name}={bob.pk}", {"name": "Alice Two", "username": "alice", name: "alice"})
    client.post(f"/account/picture/remove/?{name}={bob.pk}")
    bob.refresh_from_db()
    assert (bob.name, bob.username) == ("Bob", "bob")
    assert User.objects.get(pk=alice.pk).name == "Alice Two"
