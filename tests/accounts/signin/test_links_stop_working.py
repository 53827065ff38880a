"""Links sent for an account stop working once its user has taken it back from an attacker."""

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

THIEF = "mallory@evil.example"


def changes_the_password(alice, staff):
    owner = Client()
    sign_in(owner, "alice")
    form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert owner.post("/accounts/password/change/", form).status_code == 302


def resets_the_password(alice, staff):
    owner = Client()
    _, message = ask_for_reset(owner)
    assert follow_reset(owner, link_in(message)).status_code == 302


def ends_all_sessions(alice, staff):
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


def in_the_admin(alice, staff):
    for verb in ("delete", "restore"):
        assert staff.post(f"/admin/accounts/user/{alice.pk}/{verb}/", {"post": "yes"}).status_code == 302


def by_a_service(alice, staff):
    root = User.objects.get(username="sue")
    services.sign_out(User.objects.filter(pk=alice.pk), Author(root))


EVENTS = [
    changes_the_password,
    resets_the_password,
    ends_all_sessions,
    by_staff("sign-out"),
    by_staff("suspend", "reactivate"),
    by_staff("delete", "restore"),
    in_bulk("suspend"),
    in_bulk("delete", "restore"),
    in_the_admin,
    by_a_service,
]
every_event = pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)


@pytest.fixture
def staff(sue):
    return signed_in(sue)


@pytest.fixture
def stolen(client, alice, mailoutbox):
    """The link that an attacker in Alice's session had sent to their own address."""
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    client.post("/accounts/email/", {"email": THIEF, "action_add": ""})
    assert mailoutbox[-1].to == [THIEF]
    return last_link()


def says_what_to_do(response):
    text = response.content.decode()
    return "This link has expired" in text and "new link" in text


@every_event
def test_the_link_of_a_stolen_session_moves_no_address_after(stolen, alice, staff, mailoutbox, event):
    event(alice, staff)
    thief = Client()
    assert says_what_to_do(thief.get(stolen))
    response = thief.post(stolen)
    assert response.status_code == 404
    assert says_what_to_do(response)
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert addresses.is_verified(alice)
    assert not EmailAddress.objects.filter(email=THIEF).exists()
    mailoutbox.clear()
    thief.post("/accounts/password/reset/", {"email": THIEF})
    assert "/reset/key/" not in mailoutbox[0].body


@every_event
def test_a_first_verification_link_is_dead_after(client, alice, staff, mailoutbox, event):
    unverified(alice)
    sign_in(client, "alice")
    link = last_link()
    if event is changes_the_password:  # for which one has to be signed in
        alice.set_password(NEW_PASSWORD)
        alice.save(update_fields=["password"])
    else:
        event(alice, staff)
    was = addresses.is_verified(alice)  # a reset by email also verifies the address
    assert Client().post(link).status_code == 404
    assert addresses.is_verified(alice) is was


@every_event
def test_a_reset_link_is_dead_after(alice, staff, event):
    verified(alice)
    _, message = ask_for_reset(Client())
    event(alice, staff)
    assert says_what_to_do(Client().get(link_in(message), follow=True))


@every_event
def test_an_invitation_is_dead_after(alice, staff, mailoutbox, event):
    verified(alice)
    request = RequestFactory().get("/")
    with request_context(request):
        services.send_invitation(request, alice)
    link = last_link()
    event(alice, staff)
    assert says_what_to_do(Client().get(link, follow=True))


@every_event
def test_a_sign_in_that_waits_for_its_second_factor_is_dead_after(alice, staff, event):
    verified(alice)
    owner = Client()
    sign_in(owner, "alice")
    secret = enrol(owner)
    thief = Client()
    sign_in(thief, "alice")
    if event is changes_the_password:
        form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        owner.post("/accounts/password/change/", form)
    else:
        event(alice, staff)
    thief.post("/accounts/2fa/authenticate/", {"code": code_for(secret)})
    assert not is_signed_in(thief)


@every_event
def test_the_session_and_what_it_had_begun_are_dead_after(client, stolen, alice, staff, event):
    event(alice, staff)
    assert not is_signed_in(client)
    response = client.post("/accounts/email/", {"email": THIEF, "action_send": ""})
    assert response["Location"].startswith("/accounts/login/")
    assert "socialaccount_states" not in client.session


def test_the_owners_own_link_works_and_so_does_one_requested_anew(client, stolen, alice):
    alice.end_sessions()
    sign_in(client, "alice")
    confirm_identity(client)
    client.post("/accounts/email/", {"email": "alice@new.example", "action_add": ""})
    client.post(last_link())
    alice.refresh_from_db()
    assert alice.email == "alice@new.example"


def test_a_user_that_is_gone_or_suspended_confirms_nothing(stolen, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False, session_epoch=0)
    EmailAddress.objects.create(user=alice, email=THIEF)
    assert says_what_to_do(Client().get(stolen))
    assert Client().post(stolen).status_code == 404


def test_the_page_of_a_dead_link_leads_people_who_are_signed_in_to_their_address(client, stolen, alice):
    alice.end_sessions()
    assert "/accounts/login/" in Client().get(stolen).content.decode()
    sign_in(client, "alice")
    assert 'href="/accounts/email/"' in client.get(stolen).content.decode()


def test_a_link_that_dies_while_it_is_confirmed_confirms_nothing(client, stolen, alice, monkeypatch):
    from accounts.signin.confirmations import Confirmation

    look = Confirmation.from_key

    def then_the_epoch_moves(key):
        found = look(key)
        User.objects.filter(pk=alice.pk).update(session_epoch=7)
        return found

    monkeypatch.setattr(Confirmation, "from_key", staticmethod(then_the_epoch_moves))
    response = Client().post(stolen, follow=True)
    assert "This link has expired. Request a new one." in response.content.decode()
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


@pytest.mark.parametrize("key", ["x", "a:b:c", "é", signing.dumps([1, 2]), "a" * 3000])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_made_up_link_says_what_to_do(client, db, key, method):
    response = getattr(client, method)(f"/accounts/confirm-email/{key}/")
    assert response.status_code == (200 if method == "get" else 404)
    assert says_what_to_do(response)


def test_a_link_of_allauths_own_kind_is_none_of_ours(client, alice):
    address = unverified(alice).emailaddress_set.get()
    client.post(f"/accounts/confirm-email/{signing.dumps(address.pk, salt='account')}/")
    assert not addresses.is_verified(alice)


@pytest.mark.parametrize("role", ["nobody", "the account itself", "somebody else", "staff"])
def test_whoever_opens_a_good_link_confirms_it(alice, bob, mailoutbox, role):
    sign_in(Client(), unverified(alice).username)
    client = {
        "nobody": Client,
        "the account itself": lambda: signed_in(alice),
        "somebody else": lambda: signed_in(bob),
        "staff": lambda: signed_in(make_staff("steve", "change_user")),
    }[role]()
    link = last_link()
    assert client.get(link).status_code == 200
    assert client.post(link).status_code == 302
    assert addresses.is_verified(alice)
