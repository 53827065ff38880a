"""Sign-in through a provider: a real one, on loopback."""

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
from tests.accounts.signin.oauth_steps import come_back, consent, leave
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
def test_a_provider_signs_a_new_person_up_and_in(client, free, provider, name, column):
    response = come_back(client, name)
    assert response["Location"] == "/account/"
    assert is_signed_in(client)
    user = User.objects.get()
    assert (user.name, user.email, user.username, user.tier) == ("Dora Diaz", "dora@example.com", "dora", free)
    assert (user.oauth_provider, getattr(user, column)) == (name, "1001")
    assert not user.has_usable_password()
    assert addresses.is_verified(user)
    assert f"Signed up with {name}" in LogEntry.objects.get(object_id=str(user.pk)).change_message


@pytest.mark.parametrize("name", ["google", "github"])
def test_someone_who_comes_back_is_the_same_user(client, free, provider, name):
    come_back(client, name)
    again = Client()
    come_back(again, name)
    assert is_signed_in(again)
    assert User.objects.count() == 1


def test_the_flow_uses_pkce_and_nothing_is_kept_of_the_tokens(client, free, provider):
    url = leave(client)
    assert "code_challenge_method=S256" in url
    assert "code_challenge=" in url
    client.get(consent(url))
    assert not SocialToken.objects.exists()
    assert set(SocialAccount.objects.get().extra_data) <= {"login", "name", "email"}


def test_a_foreign_state_is_rejected(client, free, provider):
    victim, attacker = client, Client()
    way_back = consent(leave(attacker))
    response = victim.get(way_back)
    assert response.status_code == 401
    assert "couldn't sign you in" in response.content.decode()
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?code=x&state=", "?code=x&state=made-up", "?error=access_denied&state=x"]
)
def test_a_callback_out_of_the_blue_is_rejected(client, db, provider, query):
    assert client.get(f"/accounts/google/login/callback/{query}").status_code == 401


def test_a_code_is_good_once(client, free, provider):
    way_back = consent(leave(client))
    client.get(way_back)
    client.post("/accounts/logout/")
    assert client.get(way_back).status_code == 401
    assert not is_signed_in(client)


def test_someone_who_declines_at_the_provider_reads_that_nothing_changed(client, db, provider):
    url = leave(client)
    state = dict(part.split("=") for part in urlsplit(url).query.split("&"))["state"]
    response = client.get(f"/accounts/google/login/callback/?error=access_denied&state={state}", follow=True)
    assert "Nothing has changed" in response.content.decode()


def test_a_provider_that_refuses_the_code_ends_in_an_error_page(client, free, provider):
    way_back = consent(leave(client))
    provider.codes.clear()
    assert client.get(way_back).status_code == 401


def test_a_user_with_the_verified_address_is_linked_and_keeps_its_password(client, alice, provider):
    verified(alice)
    provider.person = Person(email="ALICE@example.com", login="other")
    come_back(client)
    assert client.get("/accounts/email/").context["user"] == alice
    alice.refresh_from_db()
    assert (alice.oauth_provider, alice.google_id) == ("google", "1001")
    assert alice.check_password(PASSWORD)
    assert User.objects.count() == 1


@pytest.mark.parametrize("name", ["google", "github"])
def test_an_address_that_the_provider_has_not_verified_links_to_nothing(client, alice, provider, mailoutbox, name):
    verified(alice)
    provider.person = Person(email="alice@example.com", verified=False, login="mallory")
    come_back(client, name)
    assert not is_signed_in(client)
    assert not SocialAccount.objects.filter(user=alice).exists()
    assert [message.to for message in mailoutbox] in ([], [["alice@example.com"]])
    assert User.objects.count() == 1


def test_an_unverified_user_is_claimed_and_whoever_created_it_is_signed_out(client, alice, provider):
    unverified(alice)
    mallory = Client()
    mallory.force_login(alice)
    Authenticator.objects.create(user=alice, type="totp", data={"secret": "x"})
    provider.person = Person(email="alice@example.com")
    come_back(client)
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
    come_back(client)
    client.post("/accounts/logout/")
    alice.refresh_from_db()
    alice.suspend()
    response = come_back(client)
    assert response["Location"] == "/accounts/inactive/"
    assert not is_signed_in(client)


def test_the_second_factor_is_asked_for_after_the_provider(client, alice, provider):
    verified(alice)
    sign_in(client, "alice")
    enrol(client)
    provider.person = Person(email="alice@example.com")
    other = Client()
    assert come_back(other)["Location"] == "/accounts/2fa/authenticate/"
    assert not is_signed_in(other)


def test_without_an_address_the_person_completes_a_form(client, free, provider, mailoutbox):
    provider.person = Person(email="")
    response = come_back(client, "github")
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
    come_back(client, "github")
    assert is_signed_in(client)


def test_a_taken_address_in_that_form_gives_nothing_away(client, alice, provider, mailoutbox):
    provider.person = Person(email="")
    come_back(client, "github")
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
def test_odd_and_over_long_values_end_cleanly(client, free, provider, name, person):
    provider.person = person
    assert come_back(client, name).status_code == 302
    for user in User.objects.all():
        user.full_clean(exclude=["password"])


@pytest.mark.parametrize("uid", ["9" * 500, "nul\0", ""])
def test_an_id_that_cannot_be_kept_is_an_error_page(client, free, provider, uid):
    provider.person = Person(uid=uid)
    assert come_back(client).status_code == 401
    assert not User.objects.exists()


def test_a_taken_username_gets_a_number(client, free, provider):
    make_user(
        "dora",
    ).delete()
    make_verified("dora").save()
    User.objects.live().update(email="first@example.com")
    come_back(client, "github")
    assert set(User.objects.live().values_list("username", flat=True)) == {"dora", "dora1"}


def test_closed_sign_up_applies_to_providers_but_not_to_existing_users(client, alice, provider, settings):
    settings.SIGNUP_OPEN = False
    assert "Sign-up is closed" in come_back(client).content.decode()
    assert User.objects.count() == 1
    verified(alice)
    provider.person = Person(uid="7", email="alice@example.com")
    come_back(client)
    assert is_signed_in(client)


def test_a_user_connects_and_disconnects_a_provider(client, alice, provider, mailoutbox):
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    provider.person = Person(email="private@example.org")
    assert come_back(client, "github", "connect")["Location"] == "/accounts/3rdparty/"
    alice.refresh_from_db()
    assert (alice.oauth_provider, alice.github_id, alice.email) == ("github", "1001", "alice@example.com")
    page = client.get("/accounts/3rdparty/")
    assert "Github" in page.content.decode()
    client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})
    alice.refresh_from_db()
    assert (alice.oauth_provider, alice.github_id) == ("", None)
    assert len(mailoutbox) == 2


def test_connecting_asks_for_the_password_first_and_then_goes_on(client, alice, provider):
    verified(alice)
    client.force_login(alice)
    assert come_back(client, "github", "connect")["Location"] == "/accounts/reauthenticate/"
    assert not SocialAccount.objects.exists()
    confirm_identity(client)
    alice.refresh_from_db()
    assert alice.github_id == "1001"


def test_a_providers_account_is_connected_to_one_user_only(client, alice, bob, provider):
    verified(alice)
    provider.person = Person(email="alice@example.com")
    come_back(client)
    other = Client()
    other.force_login(verified(bob))
    confirm_identity(other)
    come_back(other, process="connect")
    bob.refresh_from_db()
    assert bob.google_id is None
    assert SocialAccount.objects.get().user == alice


def test_connecting_does_not_claim_a_user_with_the_providers_address(client, alice, bob, provider):
    client.force_login(verified(bob))
    confirm_identity(client)
    provider.person = Person(email="alice@example.com")
    come_back(client, process="connect")
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert not SocialAccount.objects.exists()


def test_the_last_way_to_sign_in_cannot_be_removed(client, free, provider):
    come_back(client)
    response = client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})
    assert response.context["form"].errors
    assert SocialAccount.objects.exists()


def test_someone_elses_connection_cannot_be_removed(client, alice, provider):
    come_back(client)
    other = Client()
    other.force_login(alice)
    confirm_identity(other)
    assert other.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk}).context["form"].errors
    assert SocialAccount.objects.exists()


@pytest.mark.parametrize("path", ["google/login/", "google/login/callback/", "github/login/"])
def test_a_provider_that_is_not_configured_does_not_exist(client, db, path):
    assert client.get(f"/accounts/{path}").status_code == 404
    assert client.post(f"/accounts/{path}").status_code == 404
    assert "Continue with" not in client.get("/accounts/login/").content.decode()


def test_configured_providers_have_a_button_that_posts(client, db, provider):
    text = client.get("/accounts/login/").content.decode()
    assert "Continue with Google" in text
    assert "Continue with GitHub" in text
    assert "Continue to Google" in client.get("/accounts/google/login/").content.decode()


def test_the_way_to_the_provider_does_not_need_a_looser_policy(client, db, provider):
    page = client.post("/accounts/google/login/?process=login")
    assert "form-action 'self'" in page["Content-Security-Policy"]
    assert f'content="0;url={provider.url}' in page.content.decode()


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/"])
def test_a_provider_never_leads_off_the_site(client, free, provider, target):
    response = client.get(consent(leave(client, "google", f"login&next={target}")))
    assert response["Location"] == "/account/"


def test_a_lost_race_at_sign_up_leads_back_to_the_sign_in_page(client, free, provider):
    way_back = consent(leave(client))
    with connection.execute_wrapper(Race(email="dora@example.com")):
        response = client.get(way_back, follow=True)
    assert "Try again" in response.content.decode()
    assert not SocialAccount.objects.exists()
    assert User.objects.get().name == "Rival"


def test_the_environment_names_the_providers():
    from config.settings import oauth_provider

    assert oauth_provider("GOOGLE")["APPS"] == []
    assert json.dumps(oauth_provider("GITHUB", SCOPE=["x"])["SCOPE"]) == '["x"]'
