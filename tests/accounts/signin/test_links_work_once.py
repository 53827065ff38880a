"""Links and codes work once, even when several browsers use them at the same time."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from allauth.core.context import request_context
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.test import Client, RequestFactory

from accounts import addresses, services
from accounts.models import User
from tests.accounts.signin.steps import (
    PASSWORD,
    ask_for_reset,
    code_for,
    confirm_identity,
    enrol,
    is_signed_in,
    last_link,
    link_in,
    sign_in,
    unverified,
    verified,
)
from tests.parallel import in_parallel

pytestmark = pytest.mark.django_db(transaction=True)
BROWSERS = 6


def open_in_browsers(link):
    """Clients that have opened the link, and the path of the form each one got."""
    clients = [Client() for _ in range(BROWSERS)]
    return clients, [client.get(link, follow=True).wsgi_request.path for client in clients]


def send_forms(link):
    clients, paths = open_in_browsers(link)

    def send(number):
        password = f"battery staple {number}"
        return clients[number].post(paths[number], {"password1": password, "password2": password}, follow=True)

    return in_parallel(BROWSERS, send)


def are_expired(answers):
    return ["This link has expired" in answer.content.decode() for answer in answers]


def reset_link(alice):
    _, message = ask_for_reset(Client())
    return link_in(message)


def invitation_link(alice):
    request = RequestFactory().get("/")
    with request_context(request):
        services.send_invitation(request, alice)
    return last_link()


@pytest.mark.parametrize("make_link", [reset_link, invitation_link])
def test_a_link_used_by_six_browsers_at_once_sets_one_password(alice, mailoutbox, make_link):
    verified(alice)
    answers = send_forms(make_link(alice))
    assert sorted(are_expired(answers)) == [False] + [True] * 5
    alice.refresh_from_db()
    assert alice.session_epoch == 1
    assert alice.check_password(f"battery staple {are_expired(answers).index(False)}")
    assert LogEntry.objects.filter(object_id=str(alice.pk), change_message__contains="reset link").count() == 1
    for answer in answers:
        assert answer.status_code == 200
        assert ("Request a new link" in answer.content.decode()) is ("has expired" in answer.content.decode())


def test_a_link_stops_working_if_the_user_is_purged_while_the_form_is_open(alice):
    verified(alice)
    clients, paths = open_in_browsers(reset_link(alice))
    form = {"password1": "battery staple 2", "password2": "battery staple 2"}
    User.objects.filter(pk=alice.pk).hard_delete()
    assert "has expired" in clients[0].post(paths[0], form).content.decode()


def test_a_rejected_password_does_not_use_up_the_link(alice):
    verified(alice)
    clients, paths = open_in_browsers(reset_link(alice))
    assert clients[0].post(paths[0], {"password1": "short", "password2": "short"}).context["form"].errors
    form = {"password1": "battery staple 2", "password2": "battery staple 2"}
    assert clients[0].post(paths[0], form).status_code == 302


def test_a_verification_link_used_by_six_browsers_at_once_confirms_once(alice, mailoutbox):
    unverified(alice)
    sign_in(Client(), "alice")
    link = last_link()
    clients = [Client() for _ in range(BROWSERS)]
    answers = in_parallel(BROWSERS, lambda number: clients[number].post(link, follow=True))
    confirmed = ["@example.com confirmed." in answer.content.decode() for answer in answers]
    dead = ["This link has expired" in answer.content.decode() for answer in answers]
    assert sorted(confirmed) == [False] * 5 + [True]
    assert dead == [not done for done in confirmed]
    assert addresses.is_verified(alice)


def test_a_link_to_a_new_address_used_by_six_browsers_at_once_sends_one_notification(alice, mailoutbox):
    verified(alice)
    owner = Client()
    owner.force_login(alice)
    confirm_identity(owner)
    owner.post("/accounts/email/", {"email": "alice@new.example", "action_add": ""})
    link = last_link()
    mailoutbox.clear()
    clients = [Client() for _ in range(BROWSERS)]
    answers = in_parallel(BROWSERS, lambda number: clients[number].post(link, follow=True))
    assert {answer.status_code for answer in answers} <= {200, 404}
    alice.refresh_from_db()
    assert alice.email == "alice@new.example"
    assert [(row.email, row.verified) for row in EmailAddress.objects.filter(user=alice)] == [(alice.email, True)]
    assert [message.to for message in mailoutbox] == [["alice@example.com"]]


def clients_at_second_factor(count):
    """Clients that have entered Alice's password and are asked for a second factor."""
    clients = [Client() for _ in range(count)]
    for client in clients:
        sign_in(client, "alice")
    return clients


def give_codes(clients, codes):
    in_parallel(
        len(clients), lambda number: clients[number].post("/accounts/2fa/authenticate/", {"code": codes[number]})
    )
    return [is_signed_in(client) for client in clients]


@pytest.fixture
def owner(alice):
    verified(alice)
    client = Client()
    sign_in(client, "alice")
    client.secret = enrol(client)
    return client


def test_an_app_code_sent_by_five_clients_at_once_signs_in_one(owner, alice, any_store, monkeypatch):
    monkeypatch.setattr(cache, "add", lambda *args, **options: True)  # as if each process had its own cache
    code = code_for(owner.secret)
    assert sorted(give_codes(clients_at_second_factor(5), [code] * 5)) == [False] * 4 + [True]


def recovery_codes(alice):
    return Authenticator.objects.get(user=alice, type="recovery_codes").wrap().get_unused_codes()


def test_a_recovery_code_sent_by_five_clients_at_once_signs_in_one(owner, alice):
    code = recovery_codes(alice)[0]
    assert sorted(give_codes(clients_at_second_factor(5), [code] * 5)) == [False] * 4 + [True]
    assert code not in recovery_codes(alice)


def test_different_recovery_codes_can_be_used_at_once(owner, alice):
    codes = recovery_codes(alice)[:4]
    assert give_codes(clients_at_second_factor(4), codes) == [True] * 4
    assert not set(codes) & set(recovery_codes(alice))


def test_a_code_used_to_sign_in_cannot_be_used_to_reauthenticate(owner, alice):
    code = code_for(owner.secret)
    (phone,) = clients_at_second_factor(1)
    assert give_codes([phone], [code]) == [True]
    response = phone.post("/accounts/2fa/reauthenticate/", {"code": code})
    assert response.context["form"].errors["code"]


def test_setting_up_an_app_twice_at_once_leaves_one(alice):
    verified(alice)
    clients = [Client(), Client()]
    for client in clients:
        sign_in(client, "alice")
        confirm_identity(client)
        client.secret = client.get("/accounts/2fa/totp/activate/").context["form"].secret

    def activate(number):
        code = code_for(clients[number].secret, shift=0)
        return clients[number].post("/accounts/2fa/totp/activate/", {"code": code}, follow=True).status_code

    assert set(in_parallel(2, activate)) == {200}
    assert Authenticator.objects.filter(user=alice, type="totp").count() == 1
    assert Authenticator.objects.filter(user=alice, type="recovery_codes").count() == 1


def test_generating_recovery_codes_four_times_at_once_leaves_one_set(owner, alice):
    confirm_identity(owner, PASSWORD)
    cookie = owner.cookies
    clients = [Client() for _ in range(4)]
    for client in clients:
        client.cookies = cookie
    answers = in_parallel(4, lambda number: clients[number].post("/accounts/2fa/recovery-codes/generate/"))
    assert {answer.status_code for answer in answers} <= {200, 302}
    assert Authenticator.objects.filter(user=alice, type="recovery_codes").count() == 1
