"""Signing in through an identity provider, tested with one on localhost."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.db import connection
from django.test import Client

from accounts import addresses
from accounts.models import User
from config.base.history import LogEntry
from tests.accounts.signin.oauth_steps import consent, sign_in_through_provider, start_sign_in
from tests.accounts.signin.oidc_provider import Person
from tests.accounts.signin.steps import (
    PASSWORD,
    Race,
    confirm_identity,
    enrol,
    is_signed_in,
    last_link,
    make_verified,
    sign_in,
    unverified,
    verified,
)
from tests.conftest import make_user


@pytest.mark.parametrize(("name", "column"), [("google", "google_id"), ("github", "github_id")])
def test_a_new_user_signs_up_through_a_provider(client, free, provider, name, column):
    response = sign_in_through_provider(client, name)
    assert response["Location"] == "/account/"
    assert is_signed_in(client)
    user = User.objects.get()
    assert (user.name, user.email, user.username, user.tier) == ("Dora Diaz", "dora@example.com", "dora", free)
    assert (user.oauth_provider, getattr(user, column)) == (name, "1001")
    assert not user.has_usable_password()
    assert addresses.is_verified(user)
    assert f"Signed up with {name}" in LogEntry.objects.get(object_id=str(user.pk)).change_message


@pytest.mark.parametrize("name", ["google", "github"])
def test_signing_in_again_finds_the_same_user(client, free, provider, name):
    sign_in_through_provider(client, name)
    again = Client()
    sign_in_through_provider(again, name)
    assert is_signed_in(again)
    assert User.objects.count() == 1


def test_the_flow_uses_pkce_and_stores_no_tokens(client, free, provider):
    url = start_sign_in(client)
    assert "code_challenge_method=S256" in url
    assert "code_challenge=" in url
    client.get(consent(url))
    assert not SocialToken.objects.exists()
    assert set(SocialAccount.objects.get().extra_data) <= {"login", "name", "email"}


def test_another_sessions_state_is_rejected(client, free, provider):
    victim, attacker = client, Client()
    callback = consent(start_sign_in(attacker))
    response = victim.get(callback)
    assert response.status_code == 401
    assert "couldn't sign you in" in response.content.decode()
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?code=x&state=", "?code=x&state=made-up", "?error=access_denied&state=x"]
)
def test_an_unexpected_callback_is_rejected(client, db, provider, query):
    assert client.get(f"/accounts/google/login/callback/{query}").status_code == 401


def test_a_code_works_once(client, free, provider):
    callback = consent(start_sign_in(client))
    client.get(callback)
    client.post("/accounts/logout/")
    assert client.get(callback).status_code == 401
    assert not is_signed_in(client)


def test_declining_at_the_provider_shows_a_message(client, db, provider):
    url = start_sign_in(client)
    state = dict(part.split("=") for part in urlsplit(url).query.split("&"))["state"]
    response = client.get(f"/accounts/google/login/callback/?error=access_denied&state={state}", follow=True)
    assert "Nothing has changed" in response.content.decode()


def test_a_code_refused_by_the_provider_is_an_error_page(client, free, provider):
    callback = consent(start_sign_in(client))
    provider.codes.clear()
    assert client.get(callback).status_code == 401


def test_a_user_with_the_same_verified_address_is_linked_and_keeps_the_password(client, alice, provider):
    verified(alice)
    provider.person = Person(email="ALICE@example.com", login="other")
    sign_in_through_provider(client)
    assert client.get("/accounts/email/").context["user"] == alice
    alice.refresh_from_db()
    assert (alice.oauth_provider, alice.google_id) == ("google", "1001")
    assert alice.check_password(PASSWORD)
    assert User.objects.count() == 1


@pytest.mark.parametrize("name", ["google", "github"])
def test_an_address_not_verified_by_the_provider_is_not_linked(client, alice, provider, mailoutbox, name):
    verified(alice)
    provider.person = Person(email="alice@example.com", verified=False, login="mallory")
    sign_in_through_provider(client, name)
    assert not is_signed_in(client)
    assert not SocialAccount.objects.filter(user=alice).exists()
    assert [message.to for message in mailoutbox] in ([], [["alice@example.com"]])
    assert User.objects.count() == 1


def test_an_unverified_user_is_claimed_and_their_other_sessions_end(client, alice, provider):
    unverified(alice)
    mallory = Client()
    mallory.force_login(alice)
    Authenticator.objects.create(user=alice, type="totp", data={"secret": "x"})
    provider.person = Person(email="alice@example.com")
    sign_in_through_provider(client)
    assert is_signed_in(client)
    assert not is_signed_in(mallory)
    alice.refresh_from_db()
    assert not alice.has_usable_password()
    assert alice.session_epoch > 0
    assert addresses.is_verified(alice)
    assert not Authenticator.objects.filter(user=alice).exists()
    sign_in(mallory, "alice")
    assert not is_signed_in(mallory)
    assert "Claimed by signing in with" in "".join(LogEntry.objects.values_list("change_message", flat=True))


def test_a_suspended_user_cannot_sign_in_through_a_provider(client, alice, provider):
    verified(alice)
    provider.person = Person(email="alice@example.com")
    sign_in_through_provider(client)
    client.post("/accounts/logout/")
    alice.refresh_from_db()
    alice.suspend()
    response = sign_in_through_provider(client)
    assert response["Location"] == "/accounts/inactive/"
    assert not is_signed_in(client)


def test_the_second_factor_is_required_after_the_provider(client, alice, provider):
    verified(alice)
    sign_in(client, "alice")
    enrol(client)
    provider.person = Person(email="alice@example.com")
    other = Client()
    assert sign_in_through_provider(other)["Location"] == "/accounts/2fa/authenticate/"
    assert not is_signed_in(other)


def test_a_provider_without_an_address_leads_to_a_form(client, free, provider, mailoutbox):
    provider.person = Person(email="")
    response = sign_in_through_provider(client, "github")
    assert response["Location"] == "/accounts/3rdparty/signup/"
    page = client.get("/accounts/3rdparty/signup/")
    assert page.context["form"]["username"].value() == "dora"
    bad = client.post("/accounts/3rdparty/signup/", {"name": "D", "username": "dora", "email": ""})
    assert set(bad.context["form"].errors) == {"name", "email"}
    client.post("/accounts/3rdparty/signup/", {"name": "Dora", "username": "dora", "email": "dora@example.com"})
    user = User.objects.get()
    assert (user.github_id, user.oauth_provider, user.name) == ("1001", "github", "Dora")
    assert not addresses.is_verified(user)
    client.post(last_link())
    sign_in_through_provider(client, "github")
    assert is_signed_in(client)


def test_a_taken_address_in_that_form_reveals_nothing(client, alice, provider, mailoutbox):
    provider.person = Person(email="")
    sign_in_through_provider(client, "github")
    response = client.post(
        "/accounts/3rdparty/signup/", {"name": "Dora", "username": "dora", "email": "alice@example.com"}
    )
    assert response["Location"] == "/accounts/confirm-email/"
    assert mailoutbox[-1].to == ["alice@example.com"]
    assert User.objects.count() == 1


@pytest.mark.parametrize("name", ["google", "github"])
@pytest.mark.parametrize(
    "person",
    [
        Person(name="N" * 5000, login="l" * 5000),
        Person(name="\ud800\0 broken \x07", login="дора"),
        Person(name="", login=""),
        Person(name="D", login="d"),
        Person(email="d" * 300 + "@example.com"),
        Person(email="not an address"),
        Person(extra={"picture": "x" * 100_000, "locale": "\0"}),
    ],
)
def test_odd_or_long_values_from_the_provider_are_handled(client, free, provider, name, person):
    provider.person = person
    assert sign_in_through_provider(client, name).status_code == 302
    for user in User.objects.all():
        user.full_clean(exclude=["password"])


@pytest.mark.parametrize("uid", ["9" * 500, "nul\0", ""])
def test_an_id_that_cannot_be_stored_is_an_error_page(client, free, provider, uid):
    provider.person = Person(uid=uid)
    assert sign_in_through_provider(client).status_code == 401
    assert not User.objects.exists()


def test_a_taken_username_gets_a_number(client, free, provider):
    make_user(
        "dora",
    ).delete()
    make_verified("dora").save()
    User.objects.live().update(email="first@example.com")
    sign_in_through_provider(client, "github")
    assert set(User.objects.live().values_list("username", flat=True)) == {"dora", "dora1"}


def test_closed_sign_up_applies_to_new_users_but_not_to_existing_ones(client, alice, provider, settings):
    settings.SIGNUP_OPEN = False
    assert "Sign-up is closed" in sign_in_through_provider(client).content.decode()
    assert User.objects.count() == 1
    verified(alice)
    provider.person = Person(uid="7", email="alice@example.com")
    sign_in_through_provider(client)
    assert is_signed_in(client)


def test_a_user_can_connect_and_disconnect_a_provider(client, alice, provider, mailoutbox):
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    provider.person = Person(email="private@example.org")
    assert sign_in_through_provider(client, "github", "connect")["Location"] == "/accounts/3rdparty/"
    alice.refresh_from_db()
    assert (alice.oauth_provider, alice.github_id, alice.email) == ("github", "1001", "alice@example.com")
    page = client.get("/accounts/3rdparty/")
    assert "Github" in page.content.decode()
    client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})
    alice.refresh_from_db()
    assert (alice.oauth_provider, alice.github_id) == ("", None)
    assert len(mailoutbox) == 2


def test_connecting_requires_the_password_and_then_continues(client, alice, provider):
    verified(alice)
    client.force_login(alice)
    assert sign_in_through_provider(client, "github", "connect")["Location"] == "/accounts/reauthenticate/"
    assert not SocialAccount.objects.exists()
    confirm_identity(client)
    alice.refresh_from_db()
    assert alice.github_id == "1001"


def test_a_provider_account_can_be_connected_to_only_one_user(client, alice, bob, provider):
    verified(alice)
    provider.person = Person(email="alice@example.com")
    sign_in_through_provider(client)
    other = Client()
    other.force_login(verified(bob))
    confirm_identity(other)
    sign_in_through_provider(other, process="connect")
    bob.refresh_from_db()
    assert bob.google_id is None
    assert SocialAccount.objects.get().user == alice


def test_connecting_does_not_claim_the_user_who_has_the_address(client, alice, bob, provider):
    client.force_login(verified(bob))
    confirm_identity(client)
    provider.person = Person(email="alice@example.com")
    sign_in_through_provider(client, process="connect")
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert not SocialAccount.objects.exists()


def test_the_last_way_to_sign_in_cannot_be_removed(client, free, provider):
    sign_in_through_provider(client)
    response = client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})
    assert response.context["form"].errors
    assert SocialAccount.objects.exists()


def test_another_users_connection_cannot_be_removed(client, alice, provider):
    sign_in_through_provider(client)
    other = Client()
    other.force_login(alice)
    confirm_identity(other)
    assert other.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk}).context["form"].errors
    assert SocialAccount.objects.exists()


@pytest.mark.parametrize("path", ["google/login/", "google/login/callback/", "github/login/"])
def test_a_provider_that_is_not_configured_is_not_found(client, db, path):
    assert client.get(f"/accounts/{path}").status_code == 404
    assert client.post(f"/accounts/{path}").status_code == 404
    assert "Continue with" not in client.get("/accounts/login/").content.decode()


def test_configured_providers_have_a_button_that_posts(client, db, provider):
    text = client.get("/accounts/login/").content.decode()
    assert "Continue with Google" in text
    assert "Continue with GitHub" in text
    assert "Continue to Google" in client.get("/accounts/google/login/").content.decode()


def test_the_redirect_to_the_provider_keeps_the_strict_csp(client, db, provider):
    page = client.post("/accounts/google/login/?process=login")
    assert "form-action 'self'" in page["Content-Security-Policy"]
    assert f'content="0;url={provider.url}' in page.content.decode()


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/"])
def test_signing_in_through_a_provider_never_redirects_to_another_site(client, free, provider, target):
    response = client.get(consent(start_sign_in(client, "google", f"login&next={target}")))
    assert response["Location"] == "/account/"


def test_a_conflict_at_sign_up_returns_to_the_sign_in_page(client, free, provider):
    callback = consent(start_sign_in(client))
    with connection.execute_wrapper(Race(email="dora@example.com")):
        response = client.get(callback, follow=True)
    assert "Try again" in response.content.decode()
    assert not SocialAccount.objects.exists()
    assert User.objects.get().name == "Rival"


def test_providers_are_configured_by_environment_variables():
    from config.settings import oauth_provider

    assert oauth_provider("GOOGLE")["APPS"] == []
    assert json.dumps(oauth_provider("GITHUB", SCOPE=["x"])["SCOPE"]) == '["x"]'
