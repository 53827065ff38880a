"""Emailed links stop working after a password change, a sign-out everywhere, or anything else that ends sessions."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from allauth.core.context import request_context
from django.core import signing
from django.test import Client, RequestFactory

from accounts import addresses, services
from accounts.models import User
from config.base.history import Author
from tests.accounts.people import signed_in
from tests.accounts.signin.steps import (
    NEW_PASSWORD,
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
from tests.rows import make_staff

ATTACKER_EMAIL = "mallory@evil.example"


def change_password(alice, staff):
    owner = Client()
    sign_in(owner, "alice")
    form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert owner.post("/accounts/password/change/", form).status_code == 302


def reset_password(alice, staff):
    owner = Client()
    _, message = ask_for_reset(owner)
    assert follow_reset(owner, link_in(message)).status_code == 302


def end_sessions(alice, staff):
    alice.end_sessions()


def by_staff(*slugs):
    def event(alice, staff):
        for slug in slugs:
            assert staff.post(f"/users/{alice.pk}/{slug}/").status_code == 302

    event.__name__ = "_".join(slugs)
    return event


def in_bulk(action, undo=""):
    def event(alice, staff):
        for slug in (action, undo) if undo else (action,):
            assert staff.post("/users/bulk/", {"action": slug, "pk": alice.pk, "expected": 1}).status_code == 302
        alice.reactivate()

    event.__name__ = f"bulk_{action}"
    return event


def delete_and_restore_in_the_admin(alice, staff):
    for verb in ("delete", "restore"):
        assert staff.post(f"/admin/accounts/user/{alice.pk}/{verb}/", {"post": "yes"}).status_code == 302


def sign_out_with_a_service(alice, staff):
    root = User.objects.get(username="sue")
    services.sign_out(User.objects.filter(pk=alice.pk), Author(root))


EVENTS = [
    change_password,
    reset_password,
    end_sessions,
    by_staff("sign-out"),
    by_staff("suspend", "reactivate"),
    by_staff("delete", "restore"),
    in_bulk("suspend"),
    in_bulk("delete", "restore"),
    delete_and_restore_in_the_admin,
    sign_out_with_a_service,
]
every_event = pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)


@pytest.fixture
def staff(sue):
    return signed_in(sue)


@pytest.fixture
def attackers_link(client, alice, mailoutbox):
    """A link that moves Alice's account to an attacker's address, requested in her session."""
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    client.post("/accounts/email/", {"email": ATTACKER_EMAIL, "action_add": ""})
    assert mailoutbox[-1].to == [ATTACKER_EMAIL]
    return last_link()


def offers_a_new_link(response):
    text = response.content.decode()
    return "This link has expired" in text and "new link" in text


@every_event
def test_a_link_to_a_new_address_stops_working(attackers_link, alice, staff, mailoutbox, event):
    event(alice, staff)
    attacker = Client()
    assert offers_a_new_link(attacker.get(attackers_link))
    response = attacker.post(attackers_link)
    assert response.status_code == 404
    assert offers_a_new_link(response)
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert addresses.is_verified(alice)
    assert not EmailAddress.objects.filter(email=ATTACKER_EMAIL).exists()
    mailoutbox.clear()
    attacker.post("/accounts/password/reset/", {"email": ATTACKER_EMAIL})
    assert "/reset/key/" not in mailoutbox[0].body


@every_event
def test_a_verification_link_stops_working(client, alice, staff, mailoutbox, event):
    unverified(alice)
    sign_in(client, "alice")
    link = last_link()
    if event is change_password:  # an unverified user can't use the form
        alice.set_password(NEW_PASSWORD)
        alice.save(update_fields=["password"])
    else:
        event(alice, staff)
    was_verified = addresses.is_verified(alice)  # a reset also verifies the address
    assert Client().post(link).status_code == 404
    assert addresses.is_verified(alice) is was_verified


@every_event
def test_a_reset_link_stops_working(alice, staff, event):
    verified(alice)
    _, message = ask_for_reset(Client())
    event(alice, staff)
    assert offers_a_new_link(Client().get(link_in(message), follow=True))


@every_event
def test_an_invitation_stops_working(alice, staff, mailoutbox, event):
    verified(alice)
    request = RequestFactory().get("/")
    with request_context(request):
        services.send_invitation(request, alice)
    link = last_link()
    event(alice, staff)
    assert offers_a_new_link(Client().get(link, follow=True))


@every_event
def test_a_sign_in_waiting_for_its_second_factor_cannot_be_completed(alice, staff, event):
    verified(alice)
    owner = Client()
    sign_in(owner, "alice")
    secret = enrol(owner)
    attacker = Client()
    sign_in(attacker, "alice")
    if event is change_password:
        form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        owner.post("/accounts/password/change/", form)
    else:
        event(alice, staff)
    attacker.post("/accounts/2fa/authenticate/", {"code": code_for(secret)})
    assert not is_signed_in(attacker)


@every_event
def test_the_attackers_session_ends(client, attackers_link, alice, staff, event):
    event(alice, staff)
    assert not is_signed_in(client)
    response = client.post("/accounts/email/", {"email": ATTACKER_EMAIL, "action_send": ""})
    assert response["Location"].startswith("/accounts/login/")
    assert "socialaccount_states" not in client.session


def test_a_new_link_works_after_sessions_end(client, attackers_link, alice):
    alice.end_sessions()
    sign_in(client, "alice")
    confirm_identity(client)
    client.post("/accounts/email/", {"email": "alice@new.example", "action_add": ""})
    client.post(last_link())
    alice.refresh_from_db()
    assert alice.email == "alice@new.example"


def test_a_suspended_users_link_confirms_nothing(attackers_link, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False, session_epoch=0)
    EmailAddress.objects.create(user=alice, email=ATTACKER_EMAIL)
    assert offers_a_new_link(Client().get(attackers_link))
    assert Client().post(attackers_link).status_code == 404


def test_an_expired_link_offers_sign_in_or_the_email_page(client, attackers_link, alice):
    alice.end_sessions()
    assert "/accounts/login/" in Client().get(attackers_link).content.decode()
    sign_in(client, "alice")
    assert 'href="/accounts/email/"' in client.get(attackers_link).content.decode()


def test_a_link_that_expires_during_the_request_confirms_nothing(client, attackers_link, alice, monkeypatch):
    from accounts.signin.confirmations import Confirmation

    from_key = Confirmation.from_key

    def from_key_then_sessions_end(key):
        found = from_key(key)
        User.objects.filter(pk=alice.pk).update(session_epoch=7)
        return found

    monkeypatch.setattr(Confirmation, "from_key", staticmethod(from_key_then_sessions_end))
    response = Client().post(attackers_link, follow=True)
    assert "This link has expired. Request a new one." in response.content.decode()
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


@pytest.mark.parametrize("key", ["x", "a:b:c", "é", signing.dumps([1, 2]), "a" * 3000])
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_invalid_link_offers_a_new_one(client, db, key, method):
    response = getattr(client, method)(f"/accounts/confirm-email/{key}/")
    assert response.status_code == (200 if method == "get" else 404)
    assert offers_a_new_link(response)


def test_allauths_own_confirmation_keys_are_rejected(client, alice):
    address = unverified(alice).emailaddress_set.get()
    client.post(f"/accounts/confirm-email/{signing.dumps(address.pk, salt='account')}/")
    assert not addresses.is_verified(alice)


@pytest.mark.parametrize("role", ["visitor", "the user", "another user", "staff"])
def test_anyone_with_a_valid_link_can_confirm_it(alice, bob, mailoutbox, role):
    sign_in(Client(), unverified(alice).username)
    client = {
        "visitor": Client,
        "the user": lambda: signed_in(alice),
        "another user": lambda: signed_in(bob),
        "staff": lambda: signed_in(make_staff("steve", "change_user")),
    }[role]()
    link = last_link()
    assert client.get(link).status_code == 200
    assert client.post(link).status_code == 302
    assert addresses.is_verified(alice)
