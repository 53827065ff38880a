"""Changing the email address."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test import Client

from accounts import addresses
from accounts.models import User
from tests.accounts.signin.steps import Race, confirm_identity, is_signed_in, last_link, sign_in, verified

NEW = "alice@new.example"


def ask_to_move(client, email=NEW):
    return client.post("/accounts/email/", {"email": email, "action_add": ""})


@pytest.fixture
def at_home(client, alice):
    """Alice, signed in, who has just entered her password again."""
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    return client


def test_the_password_is_asked_for_first_and_the_request_goes_on_after_it(client, alice, mailoutbox):
    verified(alice)
    client.force_login(alice)
    response = ask_to_move(client)
    assert response["Location"].startswith("/accounts/reauthenticate/")
    assert not mailoutbox
    wrong = client.post(response["Location"], {"password": "wrong", "next": "/accounts/email/"})
    assert wrong.context["form"].errors["password"]
    client.post(response["Location"], {"password": "correct horse 1", "next": "/accounts/email/"})
    assert mailoutbox[-1].to == [NEW]
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_the_address_moves_when_the_new_one_is_confirmed_and_the_old_one_is_told(at_home, alice, mailoutbox):
    ask_to_move(at_home)
    at_home.post(last_link())
    alice.refresh_from_db()
    assert alice.email == NEW
    assert addresses.is_verified(alice)
    assert [row.email for row in EmailAddress.objects.filter(user=alice)] == [NEW]
    assert mailoutbox[-1].to == ["alice@example.com"]
    assert NEW in mailoutbox[-1].body


def test_until_then_the_old_address_stays_good(at_home, alice):
    ask_to_move(at_home)
    assert NEW in at_home.get("/accounts/email/").content.decode()
    other = Client()
    sign_in(other, "alice@example.com")
    assert is_signed_in(other)
    assert addresses.is_verified(alice)


def test_the_same_address_needs_no_confirmation_and_stays_verified(at_home, alice, mailoutbox):
    response = ask_to_move(at_home, "ALICE@example.com")
    assert response.context["form"].errors["email"] == ["This is your current address. Enter a new one."]
    assert addresses.is_verified(alice)
    assert not mailoutbox


def test_a_taken_address_gets_the_same_response_and_its_user_an_email(at_home, alice, bob, mailoutbox):
    free_answer = ask_to_move(at_home)
    taken_answer = ask_to_move(at_home, "bob@example.com")
    assert (free_answer.status_code, free_answer["Location"]) == (taken_answer.status_code, taken_answer["Location"])
    assert mailoutbox[-1].to == ["bob@example.com"]
    assert "already have an account" in mailoutbox[-1].subject


def test_an_address_that_was_taken_meanwhile_cannot_be_confirmed(at_home, alice, bob, mailoutbox):
    ask_to_move(at_home)
    User.objects.filter(pk=bob.pk).update(email=NEW)
    response = at_home.post(last_link())
    assert response.status_code in {200, 302}
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_a_lost_race_for_an_address_is_a_refusal(at_home, alice, mailoutbox):
    ask_to_move(at_home)
    link = last_link()
    with connection.execute_wrapper(Race(email=NEW)):
        assert at_home.post(link).status_code in {200, 302}
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert User.objects.get(email=NEW).name == "Rival"


def test_the_address_of_a_deleted_user_is_free(at_home, alice, bob, mailoutbox):
    verified(bob)
    bob.delete()
    ask_to_move(at_home, "bob@example.com")
    at_home.post(last_link())
    alice.refresh_from_db()
    assert alice.email == "bob@example.com"


def test_a_second_change_of_address_invalidates_the_link_of_the_first(at_home, alice, mailoutbox):
    ask_to_move(at_home, "first@example.com")
    first = last_link()
    ask_to_move(at_home, "second@example.com")
    assert at_home.post(first).status_code == 404
    assert addresses.pending_address(alice).email == "second@example.com"


def test_the_email_is_sent_again_and_the_change_cancelled(at_home, alice, mailoutbox):
    ask_to_move(at_home)
    at_home.post("/accounts/email/", {"email": NEW, "action_send": ""})
    assert [message.to for message in mailoutbox] == [[NEW], [NEW]]
    at_home.post("/accounts/email/", {"email": NEW, "action_remove": ""})
    assert addresses.pending_address(alice) is None


@pytest.mark.parametrize("action", ["action_remove", "action_primary", "action_send", ""])
@pytest.mark.parametrize("email", ["alice@example.com", "bob@example.com", "nonsense", ""])
def test_nothing_else_can_be_done_to_addresses(at_home, alice, bob, mailoutbox, action, email):
    verified(bob)
    assert at_home.post("/accounts/email/", {"email": email, action: ""}).status_code == 302
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert addresses.is_verified(alice)
    assert addresses.is_verified(bob)
    assert not mailoutbox


def test_an_unverified_address_is_not_made_the_address_by_a_post(client, alice):
    addresses.set_address(alice, verified=False)
    addresses.set_pending_address(alice, NEW)
    client.force_login(alice)
    confirm_identity(client)
    client.post("/accounts/email/", {"email": NEW, "action_primary": ""})
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_a_user_without_a_password_sets_one_before_changing_the_address(client, alice):
    alice.set_unusable_password()
    alice.save(update_fields=["password"])
    verified(alice)
    client.force_login(alice)
    response = ask_to_move(client)
    assert "Set a password before" in response.content.decode()
    assert addresses.pending_address(alice) is None


@pytest.mark.parametrize("email", ["nonsense", "", "x" * 250 + "@example.com", "a b@example.com"])
def test_an_invalid_address_is_an_error_at_the_field(at_home, alice, email):
    response = ask_to_move(at_home, email)
    assert response.status_code == 200
    assert response.context["form"].errors["email"]


def test_many_emails_to_one_address_are_throttled(at_home, mailoutbox):
    answers = [ask_to_move(at_home).status_code for _ in range(7)]
    assert answers == [302] * 5 + [429] * 2
    again = at_home.post("/accounts/email/", {"email": NEW, "action_send": ""})
    assert again.status_code == 429
    assert int(again["Retry-After"]) > 0
    assert len(mailoutbox) == 5


def test_staff_and_commands_mark_an_address_verified_or_not(alice):
    addresses.set_address(alice, verified=True)
    alice.email = NEW
    alice.save(update_fields=["email"])
    assert not addresses.is_verified(alice)
    addresses.set_address(alice, verified=False)
    assert [(row.email, row.verified) for row in EmailAddress.objects.filter(user=alice)] == [(NEW, False)]
