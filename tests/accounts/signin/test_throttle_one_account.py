"""Wrong passwords for one user are counted together, whatever login and form they come by."""

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


def by_name(client, name="alice"):
    return sign_in(client, name, "wrong")


def by_address(client):
    return sign_in(client, "alice@example.com", "wrong")


def confirm_password(client):
    return client.post("/accounts/reauthenticate/", {"password": "wrong"})


def change_password(client):
    form = {"oldpassword": "wrong", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    return client.post("/accounts/password/change/", form)


def close_account(client):
    return client.post("/account/close/", {"password": "wrong"})


def test_five_wrong_passwords_by_name_leave_none_by_address(client, alice):
    verified(alice)
    answers = [by_name(client).status_code for _ in range(5)] + [by_address(client).status_code for _ in range(5)]
    assert answers == [200] * 5 + [429] * 5
    assert sign_in(client, "alice@example.com").status_code == 429
    assert not is_signed_in(client)


def test_the_refusal_says_when_to_try_again(client, alice):
    for _ in range(5):
        by_name(client)
    response = by_address(client)
    assert 0 < int(response["Retry-After"]) <= 900
    assert "Try again in" in response.content.decode()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_that_signs_in_is_counted_as_the_user(client, alice, spelling):
    verified(alice)
    assert sign_in(Client(), spelling).status_code == 302
    for _ in range(5):
        by_name(client)
    assert sign_in(client, spelling).status_code == 429


@pytest.mark.parametrize("place", [confirm_password, change_password, close_account])
def test_every_place_that_asks_for_the_password_adds_to_one_count(client, alice, place):
    verified(alice)
    client.force_login(alice)
    for _ in range(5):
        place(client)
    assert by_address(Client()).status_code == 429


@pytest.mark.parametrize("place", [confirm_password, change_password, close_account])
def test_wrong_passwords_at_sign_in_leave_none_where_the_password_is_asked_again(client, alice, place):
    verified(alice)
    client.force_login(alice)
    for _ in range(5):
        by_address(Client())
    response = place(client)
    assert response.status_code == 429
    assert "Try again in" in response.content.decode()


def test_the_right_current_password_forgives_the_wrong_ones(client, alice):
    verified(alice)
    client.force_login(alice)
    for _ in range(4):
        by_name(Client())
    form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.post("/accounts/password/change/", form).status_code == 302
    assert [by_address(Client()).status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    "names", [("nobody", "NOBODY", " nobody"), ("nobody@example.com", "Nobody@Example.com", "nobody＠example.com")]
)
def test_a_name_that_no_user_has_is_counted_in_its_normal_form(client, alice, names):
    tried = [names[number % len(names)] for number in range(6)]
    assert [by_name(client, name).status_code for name in tried] == [200] * 5 + [429]


@pytest.mark.parametrize("name", ["alice", "alice@example.com", "nobody", "nobody@example.com"])
def test_known_and_unknown_names_cost_the_same_queries(client, alice, name, django_assert_num_queries):
    verified(alice)
    with django_assert_num_queries(3):
        by_name(client, name)


def test_two_users_of_one_client_have_separate_counters(client, alice, bob):
    verified(bob)
    for _ in range(5):
        by_name(client)
    assert sign_in(client, "bob@example.com").status_code == 302


def test_codes_of_the_app_and_recovery_codes_are_counted_together_at_sign_in_and_after_it(client, alice):
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
def test_resets_for_one_address_in_any_spelling_are_counted_together(client, alice, known):
    name = "alice" if known else "nobody"
    spellings = (f"{name}@example.com", f"{name.upper()}@Example.COM", f" {name}@example.com ")
    answers = [
        client.post("/accounts/password/reset/", {"email": spellings[number % 3]}).status_code for number in range(6)
    ]
    assert answers == [302] * 5 + [429]
