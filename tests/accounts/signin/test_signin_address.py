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


def request_change(client, email=NEW):
    return client.post("/accounts/email/", {"email": email, "action_add": ""})


@pytest.fixture
def confirmed_client(client, alice):
    """A client signed in as Alice, who has just entered her password again."""
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    return client


def test_the_password_is_required_and_the_request_then_continues(client, alice, mailoutbox):
    verified(alice)
    client.force_login(alice)
    response = request_change(client)
    assert response["Location"].startswith("/accounts/reauthenticate/")
    assert not mailoutbox
    wrong = client.post(response["Location"], {"password": "wrong", "next": "/accounts/email/"})
    assert wrong.context["form"].errors["password"]
    client.post(response["Location"], {"password": "correct horse 1", "next": "/accounts/email/"})
    assert mailoutbox[-1].to == [NEW]
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_confirming_the_new_address_changes_it_and_notifies_the_old_one(confirmed_client, alice, mailoutbox):
    request_change(confirmed_client)
    confirmed_client.post(last_link())
    alice.refresh_from_db()
    assert alice.email == NEW
    assert addresses.is_verified(alice)
    assert [row.email for row in EmailAddress.objects.filter(user=alice)] == [NEW]
    assert mailoutbox[-1].to == ["alice@example.com"]
    assert NEW in mailoutbox[-1].body


def test_the_old_address_works_until_the_new_one_is_confirmed(confirmed_client, alice):
    request_change(confirmed_client)
    assert NEW in confirmed_client.get("/accounts/email/").content.decode()
    other = Client()
    sign_in(other, "alice@example.com")
    assert is_signed_in(other)
    assert addresses.is_verified(alice)


def test_the_current_address_is_a_field_error(confirmed_client, alice, mailoutbox):
    response = request_change(confirmed_client, "ALICE@example.com")
    assert response.context["form"].errors["email"] == ["This is your current address. Enter a new one."]
    assert addresses.is_verified(alice)
    assert not mailoutbox


def test_a_taken_address_gets_the_same_response_and_its_user_is_emailed(confirmed_client, alice, bob, mailoutbox):
    free_answer = request_change(confirmed_client)
    taken_answer = request_change(confirmed_client, "bob@example.com")
    assert (free_answer.status_code, free_answer["Location"]) == (taken_answer.status_code, taken_answer["Location"])
    assert mailoutbox[-1].to == ["bob@example.com"]
    assert "already have an account" in mailoutbox[-1].subject


def test_an_address_taken_meanwhile_cannot_be_confirmed(confirmed_client, alice, bob, mailoutbox):
    request_change(confirmed_client)
    User.objects.filter(pk=bob.pk).update(email=NEW)
    response = confirmed_client.post(last_link())
    assert response.status_code in {200, 302}
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_an_address_taken_during_the_request_cannot_be_confirmed(confirmed_client, alice, mailoutbox):
    request_change(confirmed_client)
    link = last_link()
    with connection.execute_wrapper(Race(email=NEW)):
        assert confirmed_client.post(link).status_code in {200, 302}
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert User.objects.get(email=NEW).name == "Rival"


def test_the_address_of_a_deleted_user_can_be_used(confirmed_client, alice, bob, mailoutbox):
    verified(bob)
    bob.delete()
    request_change(confirmed_client, "bob@example.com")
    confirmed_client.post(last_link())
    alice.refresh_from_db()
    assert alice.email == "bob@example.com"


def test_a_second_change_of_address_invalidates_the_link_of_the_first(confirmed_client, alice, mailoutbox):
    request_change(confirmed_client, "first@example.com")
    first = last_link()
    request_change(confirmed_client, "second@example.com")
    assert confirmed_client.post(first).status_code == 404
    assert addresses.pending_address(alice).email == "second@example.com"


def test_the_email_can_be_sent_again_and_the_change_canceled(confirmed_client, alice, mailoutbox):
    request_change(confirmed_client)
    confirmed_client.post("/accounts/email/", {"email": NEW, "action_send": ""})
    assert [message.to for message in mailoutbox] == [[NEW], [NEW]]
    confirmed_client.post("/accounts/email/", {"email": NEW, "action_remove": ""})
    assert addresses.pending_address(alice) is None


@pytest.mark.parametrize("action", ["action_remove", "action_primary", "action_send", ""])
@pytest.mark.parametrize("email", ["alice@example.com", "bob@example.com", "nonsense", ""])
def test_other_actions_change_nothing(confirmed_client, alice, bob, mailoutbox, action, email):
    verified(bob)
    assert confirmed_client.post("/accounts/email/", {"email": email, action: ""}).status_code == 302
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert addresses.is_verified(alice)
    assert addresses.is_verified(bob)
    assert not mailoutbox


def test_a_post_cannot_make_a_pending_address_primary(client, alice):
    addresses.set_address(alice, verified=False)
    addresses.set_pending_address(alice, NEW)
    client.force_login(alice)
    confirm_identity(client)
    client.post("/accounts/email/", {"email": NEW, "action_primary": ""})
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_a_user_without_a_password_has_to_set_one_first(client, alice):
    alice.set_unusable_password()
    alice.save(update_fields=["password"])
    verified(alice)
    client.force_login(alice)
    response = request_change(client)
    assert "Set a password before" in response.content.decode()
    assert addresses.pending_address(alice) is None


@pytest.mark.parametrize("email", ["nonsense", "", "x" * 250 + "@example.com", "a b@example.com"])
def test_invalid_addresses_are_field_errors(confirmed_client, alice, email):
    response = request_change(confirmed_client, email)
    assert response.status_code == 200
    assert response.context["form"].errors["email"]


def test_emails_to_one_address_are_throttled(confirmed_client, mailoutbox):
    answers = [request_change(confirmed_client).status_code for _ in range(7)]
    assert answers == [302] * 5 + [429] * 2
    again = confirmed_client.post("/accounts/email/", {"email": NEW, "action_send": ""})
    assert again.status_code == 429
    assert int(again["Retry-After"]) > 0
    assert len(mailoutbox) == 5


def test_set_address_marks_the_current_address_verified_or_not(alice):
    addresses.set_address(alice, verified=True)
    alice.email = NEW
    alice.save(update_fields=["email"])
    assert not addresses.is_verified(alice)
    addresses.set_address(alice, verified=False)
    assert [(row.email, row.verified) for row in EmailAddress.objects.filter(user=alice)] == [(NEW, False)]
