"""Sign-up: what a new user starts with, what is rejected, and that it doesn't reveal which addresses are taken."""

from __future__ import annotations

import logging

import pytest

from accounts import addresses
from accounts.models import User
from config.base.history import LogEntry
from tests.accounts.signin.steps import PASSWORD, Race, is_signed_in, last_link, make_verified, sign_in
from tiers.models import Tier

FORM = {"name": "Dora Diaz", "username": "dora", "email": "dora@example.com", "password1": PASSWORD}


def sign_up(client, **changes):
    return client.post("/accounts/signup/", FORM | changes)


def test_a_new_user_gets_the_default_tier_and_confirms_their_address(client, free, mailoutbox):
    response = sign_up(client)
    assert response["Location"] == "/accounts/confirm-email/"
    user = User.objects.get(username="dora")
    assert (user.name, user.email, user.tier, user.is_staff) == ("Dora Diaz", "dora@example.com", free, False)
    assert not addresses.is_verified(user)
    assert not is_signed_in(client)
    client.post(last_link())
    assert addresses.is_verified(user)
    sign_in(client, "dora")
    assert is_signed_in(client)


def test_the_verification_link_works_once(client, free, mailoutbox):
    sign_up(client)
    link = last_link()
    assert "dora@example.com" in client.get(link).content.decode()
    assert client.post(link)["Location"] == "/accounts/login/"
    assert client.post(link).status_code == 404
    assert "has expired" in client.get(link).content.decode()


def test_opening_the_link_alone_does_not_verify_the_address(client, free, mailoutbox):
    sign_up(client)
    client.get(last_link())
    assert not addresses.is_verified(User.objects.get(username="dora"))


@pytest.mark.parametrize("gone", [User.delete, User.suspend])
def test_the_link_of_a_deleted_or_suspended_user_does_not_work(client, free, mailoutbox, gone):
    sign_up(client)
    user = User.objects.get(username="dora")
    gone(user)
    client.post(last_link())
    assert not addresses.is_verified(user)


def test_the_response_contains_neither_password_nor_hash(client, free):
    text = sign_up(client, username="X").content.decode()
    assert PASSWORD not in text
    assert "argon2" not in text


def test_the_form_keeps_everything_but_the_password(client, free):
    form = sign_up(client, email="not an address").context["form"]
    assert (form["name"].value(), form["username"].value()) == ("Dora Diaz", "dora")
    assert "value=" not in str(form["password1"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", "a@b"),
        ("email", "x" * 250 + "@example.com"),
        ("email", ""),
        ("username", "d"),
        ("username", "d" * 33),
        ("username", "dora diaz"),
        ("username", "dora!"),
        ("username", "дора"),
        ("name", "D"),
        ("name", "D" * 101),
        ("name", "nul\0"),
        ("password1", "short1"),
        ("password1", "dora@example"),
        ("password1", "12345678901"),
        ("password1", "x" * 129),
        ("password1", ""),
    ],
)
def test_invalid_values_are_field_errors_and_create_no_user(client, free, field, value):
    response = sign_up(client, **{field: value})
    assert response.status_code == 200
    assert response.context["form"].errors[field]
    assert not User.objects.filter(email="dora@example.com").exists()


@pytest.mark.parametrize("password", ["пароль-кириллицей", "日本語のパスワード", "correct horse battery staple"])
def test_passwords_in_any_script_without_special_characters_are_accepted(client, free, password):
    sign_up(client, password1=password)
    assert User.objects.get(username="dora").check_password(password)


def test_a_long_address_is_accepted(client, free):
    email = "d" * 60 + "@" + "e" * 60 + ".example"
    sign_up(client, email=email)
    assert User.objects.get(username="dora").email == email


def test_a_mixed_case_address_is_normalized_and_can_sign_in(client, free, mailoutbox):
    sign_up(client, email="Dora@EXAMPLE.com", username="Dora")
    user = User.objects.get()
    assert (user.email, user.username) == ("dora@example.com", "dora")
    client.post(last_link())
    sign_in(client, "DORA@example.COM")
    assert is_signed_in(client)


@pytest.mark.parametrize("username", ["alice", "ALICE", "ａｌｉｃｅ"])
def test_a_taken_username_is_rejected_in_any_case(client, alice, username):
    response = sign_up(client, username=username)
    assert "Another user has this username" in response.content.decode()
    assert User.objects.count() == 1


@pytest.mark.parametrize("email", ["alice@example.com", "ALICE@example.com"])
def test_a_taken_address_gets_the_same_response_and_its_user_is_emailed(client, alice, mailoutbox, email):
    free_answer = sign_up(client)
    taken_answer = sign_up(client, username="other", email=email)
    assert (free_answer.status_code, free_answer["Location"]) == (taken_answer.status_code, taken_answer["Location"])
    assert not User.objects.filter(username="other").exists()
    assert mailoutbox[-1].to == ["alice@example.com"]
    assert "already have an account" in mailoutbox[-1].subject


def test_the_username_and_address_of_a_deleted_user_can_be_used(client, free, mailoutbox):
    former = make_verified("dora")
    former.delete()
    sign_up(client)
    client.post(last_link())
    sign_in(client, "dora")
    assert client.get("/accounts/email/").context["user"] == User.objects.live().get(username="dora")


def test_extra_fields_are_ignored(client, free):
    pro = Tier.objects.create(name="pro")
    sign_up(
        client, is_staff="on", is_superuser="on", tier=pro.pk, verified="on", google_id="1", oauth_provider="google"
    )
    user = User.objects.get(username="dora")
    assert (user.is_staff, user.is_superuser, user.tier, user.google_id, user.oauth_provider) == (
        False,
        False,
        free,
        None,
        "",
    )
    assert not addresses.is_verified(user)


def test_closed_sign_up_shows_a_message_and_creates_no_user(client, free, settings):
    settings.SIGNUP_OPEN = False
    assert "Sign-up is closed" in client.get("/accounts/signup/").content.decode()
    assert "Sign-up is closed" in sign_up(client).content.decode()
    assert "/accounts/signup/" not in client.get("/accounts/login/").content.decode()
    assert not User.objects.exists()


def test_signing_up_is_recorded(client, free):
    sign_up(client)
    user = User.objects.get(username="dora")
    assert "Signed up." in LogEntry.objects.get(object_id=str(user.pk), user=user).change_message


@pytest.mark.parametrize(("taken", "status"), [({"username": "dora"}, 200), ({"email": "dora@example.com"}, 302)])
def test_a_conflict_during_the_request_gets_the_usual_response(client, free, taken, status, caplog):
    from django.db import connection

    caplog.set_level(logging.DEBUG)
    with connection.execute_wrapper(Race(**taken)):
        response = sign_up(client)
    assert response.status_code == status
    assert User.objects.get().name == "Rival"
    assert "argon2" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_the_sign_up_page_redirects_signed_in_users(client, alice):
    client.force_login(alice)
    assert client.get("/accounts/signup/")["Location"] == "/account/"
