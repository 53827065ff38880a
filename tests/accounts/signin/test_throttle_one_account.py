"""Wrong passwords for one user share a counter, whatever the login and the form."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.accounts.signin.steps import NEW_PASSWORD, PASSWORD, enrol, is_signed_in, sign_in, verified

FULL_WIDTH_NAME = "ａｌｉｃｅ"
FULL_WIDTH_AT = "alice＠example.com"
SPELLINGS = (
    "alice",
    "ALICE",
    "  alice ",
    "\u00a0alice",
    FULL_WIDTH_NAME,
    "alice@example.com",
    "Alice@EXAMPLE.com",
    " alice@example.com ",
    FULL_WIDTH_AT,
    f"{FULL_WIDTH_NAME}@example.com",
)


def sign_in_by_name(client, name="alice"):
    return sign_in(client, name, "wrong")


def sign_in_by_address(client):
    return sign_in(client, "alice@example.com", "wrong")


def confirm_password(client):
    return client.post("/accounts/reauthenticate/", {"password": "wrong"})


def change_password(client):
    form = {"oldpassword": "wrong", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    return client.post("/accounts/password/change/", form)


def close_account(client):
    return client.post("/account/close/", {"password": "wrong"})


def test_username_and_address_share_a_counter(client, alice):
    verified(alice)
    answers = [sign_in_by_name(client).status_code for _ in range(5)] + [
        sign_in_by_address(client).status_code for _ in range(5)
    ]
    assert answers == [200] * 5 + [429] * 5
    assert sign_in(client, "alice@example.com").status_code == 429
    assert not is_signed_in(client)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_that_can_sign_in_shares_the_counter(client, alice, spelling):
    verified(alice)
    assert sign_in(Client(), spelling).status_code == 302
    for _ in range(5):
        sign_in_by_name(client)
    assert sign_in(client, spelling).status_code == 429


@pytest.mark.parametrize("form", [confirm_password, change_password, close_account])
def test_wrong_passwords_in_other_forms_block_sign_in(client, alice, form):
    verified(alice)
    client.force_login(alice)
    for _ in range(5):
        form(client)
    assert sign_in_by_address(Client()).status_code == 429


@pytest.mark.parametrize("form", [confirm_password, change_password, close_account])
def test_wrong_passwords_at_sign_in_block_other_forms(client, alice, form):
    verified(alice)
    client.force_login(alice)
    for _ in range(5):
        sign_in_by_address(Client())
    response = form(client)
    assert response.status_code == 429
    assert "Try again in" in response.content.decode()


def test_the_right_password_resets_the_counter(client, alice):
    verified(alice)
    client.force_login(alice)
    for _ in range(4):
        sign_in_by_name(Client())
    form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.post("/accounts/password/change/", form).status_code == 302
    assert [sign_in_by_address(Client()).status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    "names", [("nobody", "NOBODY", " nobody"), ("nobody@example.com", "Nobody@Example.com", "nobody＠example.com")]
)
def test_unknown_names_are_throttled_in_any_spelling(client, alice, names):
    tried = [names[number % len(names)] for number in range(6)]
    assert [sign_in_by_name(client, name).status_code for name in tried] == [200] * 5 + [429]


@pytest.mark.parametrize("name", ["alice", "alice@example.com", "nobody", "nobody@example.com"])
def test_known_and_unknown_names_take_the_same_queries(client, alice, name, django_assert_num_queries):
    verified(alice)
    with django_assert_num_queries(3):
        sign_in_by_name(client, name)


def test_two_users_on_one_client_have_separate_counters(client, alice, bob):
    verified(bob)
    for _ in range(5):
        sign_in_by_name(client)
    assert sign_in(client, "bob@example.com").status_code == 302


def test_app_codes_and_recovery_codes_share_a_counter_at_sign_in_and_reauthentication(client, alice):
    verified(alice)
    sign_in(client, "alice")
    enrol(client)
    other = Client()
    sign_in(other, "alice")
    wrong = [other.post("/accounts/2fa/authenticate/", {"code": code}) for code in ("000000", "00000000") * 2]
    wrong.append(client.post("/accounts/2fa/reauthenticate/", {"code": "000000"}))
    assert [response.status_code for response in wrong] == [200] * 5
    for response in (
        other.post("/accounts/2fa/authenticate/", {"code": "00000000"}),
        client.post("/accounts/2fa/reauthenticate/", {"code": "00000000"}),
    ):
        assert response.status_code == 429
        assert "Try again in" in response.content.decode()


@pytest.mark.parametrize("known", [True, False])
def test_resets_for_an_address_in_any_spelling_share_a_counter(client, alice, mailoutbox, known):
    name = "alice" if known else "nobody"
    spellings = (f"{name}@example.com", f"{name.upper()}@Example.COM", f" {name}@example.com ")
    answers = [
        client.post("/accounts/password/reset/", {"email": spellings[number % 3]}).status_code for number in range(6)
    ]
    assert answers == [302] * 5 + [429]
    assert len(mailoutbox) == 5
