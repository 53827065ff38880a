"""Signing in by username or email address, and where it leads."""

from __future__ import annotations

import pytest

from accounts.models import User
from tests.accounts.signin.steps import (
    PASSWORD,
    CountingHasher,
    is_signed_in,
    make_verified,
    sign_in,
    unverified,
    verified,
)
from tests.conftest import make_user


@pytest.mark.parametrize("name", ["alice", "ALICE", " Alice ", "alice@example.com", "Alice@EXAMPLE.com", "ａｌｉｃｅ"])
def test_users_can_sign_in_by_username_or_address_in_any_spelling(client, alice, name):
    verified(alice)
    response = sign_in(client, name)
    assert response.status_code == 302
    assert response["Location"] == "/account/"
    assert is_signed_in(client)


def test_addresses_are_normalized_at_sign_in(client, free):
    user = User.objects.create_user("bertil", "BERTIL@Straße.example", PASSWORD)
    verified(user)
    sign_in(client, "bertil@STRASSE.example")
    assert is_signed_in(client)


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong"), ("nobody", PASSWORD), ("alice@example.com", PASSWORD + " "), ("", PASSWORD), ("alice", "")],
)
def test_a_wrong_name_or_password_is_an_error_and_keeps_the_name(client, alice, name, password):
    verified(alice)
    response = sign_in(client, name, password)
    assert response.status_code == 200
    assert response.context["form"].errors
    assert response.context["form"]["login"].value() == name
    assert password not in response.content.decode() or not password
    assert not is_signed_in(client)


def answer(response):
    """The response without what differs between requests."""
    tokens = response.context["form"].data["login"], response.context["csrf_token"]
    text = response.content.decode()
    for token in (*map(str, tokens), response["X-Request-Id"]):
        text = text.replace(token, "…")
    return response.status_code, text.count("name="), response.context["form"].errors.as_text()


def test_unknown_suspended_and_deleted_users_get_the_same_response(client, alice, bob, charlie):
    for user in (alice, bob, charlie):
        verified(user)
    bob.suspend()
    charlie.delete()
    answers = {
        answer(sign_in(client, name, password))
        for name, password in [("alice", "wrong"), ("nobody", "wrong"), ("bob", PASSWORD), ("charlie", PASSWORD)]
    }
    assert len(answers) == 1


@pytest.fixture
def hash_count(settings):
    """hash_count(action) returns how many password hashes an action computes."""
    settings.PASSWORD_HASHERS = ["tests.accounts.signin.steps.CountingHasher"]

    def counted(action):
        before = CountingHasher.hashes
        action()
        return CountingHasher.hashes - before

    return counted


@pytest.mark.parametrize("name", ["alice", "bob", "charlie", "provider", "nobody", "nobody@example.com"])
def test_every_failed_sign_in_computes_one_hash(client, alice, bob, charlie, hash_count, name):
    bob.suspend()
    charlie.delete()
    provider = make_user("provider")
    provider.set_unusable_password()
    provider.save(update_fields=["password"])
    assert hash_count(lambda: sign_in(client, name, "wrong")) == 1


@pytest.mark.parametrize("email", ["free@example.com", "alice@example.com"])
def test_every_sign_up_computes_one_hash(client, alice, hash_count, email):
    form = {"name": "Dora", "username": "dora", "email": email, "password1": PASSWORD}
    assert hash_count(lambda: client.post("/accounts/signup/", form)) == 1


def test_a_deleted_users_username_signs_in_the_new_user(client, alice):
    verified(alice)
    alice.delete()
    successor = make_verified("alice")
    sign_in(client, "alice")
    assert client.get("/accounts/email/").context["user"] == successor


@pytest.mark.parametrize("password", ["x" * 129, "x" * 100_000, "nul\0"])
def test_an_invalid_password_is_a_wrong_password(client, alice, password):
    verified(alice)
    response = client.post("/accounts/login/", {"login": "alice", "password": password})
    assert response.status_code == 200
    assert response.context["form"].errors


def test_the_backend_rejects_broken_unicode(alice):
    from django.contrib.auth import authenticate

    assert authenticate(username="alice", password="\ud800") is None
    assert authenticate(username="alice", password=None) is None


def test_a_user_without_a_password_cannot_sign_in_with_one(client, alice):
    alice.set_unusable_password()
    alice.save(update_fields=["password"])
    verified(alice)
    sign_in(client, "alice", "")
    sign_in(client, "alice", alice.password)
    assert not is_signed_in(client)


def test_an_unverified_user_has_to_confirm_their_address_first(client, alice, mailoutbox):
    unverified(alice)
    response = sign_in(client, "alice")
    assert response["Location"] == "/accounts/confirm-email/"
    assert [message.to for message in mailoutbox] == [["alice@example.com"]]
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_signing_in_never_redirects_to_another_site(client, alice, target):
    verified(alice)
    response = client.post("/accounts/login/", {"login": "alice", "password": PASSWORD, "next": target})
    assert response["Location"] == "/account/"


def test_signing_in_returns_to_the_requested_page(client, alice):
    verified(alice)
    response = client.post("/accounts/login/", {"login": "alice", "password": PASSWORD, "next": "/accounts/2fa/?a=b"})
    assert response["Location"] == "/accounts/2fa/?a=b"


def test_a_post_without_a_csrf_token_is_rejected(alice):
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    assert sign_in(strict, "alice").status_code == 403


def test_signing_out_requires_post_and_ends_the_session(client, alice):
    verified(alice)
    sign_in(client, "alice")
    client.get("/accounts/logout/")
    assert is_signed_in(client)
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"
    assert not is_signed_in(client)


def test_signing_out_without_a_session_redirects_to_sign_in(client, db):
    assert client.get("/accounts/logout/")["Location"] == "/accounts/login/"


def test_remember_me_keeps_the_session_for_two_weeks(client, alice):
    verified(alice)
    sign_in(client, "alice")
    assert client.session.get_expire_at_browser_close()
    client.post("/accounts/logout/")
    client.post("/accounts/login/", {"login": "alice", "password": PASSWORD, "remember": "on"})
    assert client.session.get_expiry_age() > 13 * 24 * 3600
