"""Claiming an unverified user through a provider ends all access that someone else may have had."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from accounts import addresses
from accounts.models import User
from apikeys.services import rotate_key
from config.base.history import Author, describe
from tests.accounts.signin.oauth_steps import consent, sign_in_through_provider, start_sign_in
from tests.accounts.signin.oidc_provider import Person
from tests.accounts.signin.steps import (
    PASSWORD,
    ask_for_reset,
    code_for,
    confirm_identity,
    enrol,
    follow_reset,
    is_signed_in,
    last_link,
    link_in,
    sign_in,
    unverified,
    verified,
)
from tests.rows import make_key


def claim(client, provider, name="google"):
    provider.person = Person(email="alice@example.com")
    return sign_in_through_provider(client, name)


def verdict(client, secret):
    answer = client.post(
        "/authz/verify", {"key": secret, "method": "GET", "path": "/x"}, content_type="application/json"
    )
    return answer.json()["reason"] or "allowed"


@pytest.mark.parametrize(("name", "shown"), [("google", "Google"), ("github", "GitHub")])
def test_existing_keys_are_revoked_with_a_reason(client, alice, provider, name, shown):
    key = make_key(unverified(alice), "old export")
    assert verdict(client, key.secret) == "allowed"
    welcome = client.get(claim(client, provider, name)["Location"]).content.decode()
    assert "1 API key from before you signed in to this account no longer works. Create new ones." in welcome
    assert verdict(client, key.secret) == "revoked_key"
    reason = f"Account claimed by signing in with {shown}."
    assert "old export" in client.get("/account/keys/?show=ended").content.decode()
    assert reason in client.get(f"/account/keys/{key.pk}/").content.decode()
    entries = LogEntry.objects.filter(object_id=str(key.pk))
    assert [describe(entry).summary for entry in entries] == [f"Revoked: {reason}"]


def test_rotated_disabled_and_deleted_keys_are_revoked_too(client, alice, provider):
    rotated, disabled, deleted, revoked = (
        make_key(unverified(alice), name) for name in ("rotated", "disabled", "deleted", "revoked")
    )
    secrets = [rotated.secret, rotate_key(rotated, Author(alice), grace=timedelta(days=1))]
    type(disabled).objects.filter(pk=disabled.pk).update(is_active=False)
    deleted.delete()
    type(revoked).objects.filter(pk=revoked.pk).update(revoked_at=timezone.now(), revoked_reason="Lost.")
    assert [verdict(client, secret) for secret in secrets] == ["allowed", "allowed"]
    claim(client, provider)
    assert [verdict(client, secret) for secret in secrets] == ["revoked_key", "revoked_key"]
    for key in (rotated, disabled, deleted, revoked):
        key.refresh_from_db()
        assert key.revoked_at is not None
    assert revoked.revoked_reason == "Lost."
    deleted.restore()
    assert verdict(client, deleted.secret) == "revoked_key"


def test_keys_of_other_users_and_of_verified_users_keep_working(client, alice, bob, provider):
    others, own = make_key(bob), make_key(verified(alice))
    claim(client, provider)
    assert is_signed_in(client)
    assert [verdict(client, key.secret) for key in (others, own)] == ["allowed", "allowed"]


def test_the_first_provider_account_can_no_longer_sign_in(client, free, provider):
    mallory = Client()
    provider.person = Person(uid="666", email="alice@example.com", verified=False)
    sign_in_through_provider(mallory, "github")
    user = User.objects.get()
    assert not addresses.is_verified(user)
    provider.person = Person(uid="1", email="alice@example.com")
    sign_in_through_provider(client, "google")
    assert is_signed_in(client)
    user.refresh_from_db()
    assert (user.google_id, user.github_id, user.oauth_provider) == ("1", None, "google")
    assert SocialAccount.objects.get(user=user).provider == "google"
    provider.person = Person(uid="666", email="alice@example.com", verified=False)
    sign_in_through_provider(mallory, "github")
    assert not is_signed_in(mallory)


def test_a_password_reset_disconnects_an_unverified_users_provider(client, free, provider):
    mallory = Client()
    provider.person = Person(uid="666", email="alice@example.com", verified=False)
    sign_in_through_provider(mallory, "github")
    _, message = ask_for_reset(client)
    follow_reset(client, link_in(message))
    sign_in_through_provider(mallory, "github")
    assert not is_signed_in(mallory)
    assert not SocialAccount.objects.exists()


def test_a_password_reset_keeps_a_verified_users_provider(client, free, provider):
    sign_in_through_provider(client, "google")
    _, message = ask_for_reset(Client(), "dora@example.com")
    follow_reset(Client(), link_in(message))
    assert SocialAccount.objects.get().provider == "google"


def test_earlier_second_factors_sessions_and_links_stop_working(client, alice, provider, mailoutbox):
    owner, waiting = Client(), Client()
    sign_in(owner, verified(alice).username)
    secret = enrol(owner)
    confirm_identity(owner)
    owner.post("/accounts/email/", {"email": "mallory@evil.example", "action_add": ""})
    move = last_link()
    sign_in(waiting, "alice")
    EmailAddress.objects.filter(email=alice.email).update(verified=False)
    claim(client, provider)
    assert not Authenticator.objects.exists()
    waiting.post("/accounts/2fa/authenticate/", {"code": code_for(secret)})
    assert not is_signed_in(waiting)
    assert not is_signed_in(owner)
    assert Client().post(move).status_code == 404
    assert [row.email for row in EmailAddress.objects.filter(user=alice)] == ["alice@example.com"]
    sign_in(owner, "alice", PASSWORD)
    assert not is_signed_in(owner)


def test_a_session_that_ended_meanwhile_cannot_connect_a_provider(client, alice, provider):
    sign_in(client, verified(alice).username)
    callback = consent(start_sign_in(client, "github", "connect"))
    alice.end_sessions()
    client.get(callback)
    assert not SocialAccount.objects.exists()
    assert not is_signed_in(client)
