"""Password reset: the email, its link, and everything that invalidates the link."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import User
from config.base.history import LogEntry
from tests.accounts.signin.steps import (
    NEW_PASSWORD,
    PASSWORD,
    ask_for_reset,
    follow_reset,
    is_signed_in,
    link_in,
    make_verified,
    sign_in,
    verified,
)


def test_the_link_sets_the_password_ends_all_sessions_and_works_once(client, alice):
    verified(alice)
    elsewhere = Client()
    sign_in(elsewhere, "alice")
    _, message = ask_for_reset(client)
    assert follow_reset(client, link_in(message)).status_code == 302
    assert not is_signed_in(elsewhere)
    assert not is_signed_in(client)
    sign_in(client, "alice", PASSWORD)
    assert not is_signed_in(client)
    sign_in(client, "alice", NEW_PASSWORD)
    assert is_signed_in(client)
    assert "has expired" in Client().get(link_in(message), follow=True).content.decode()


def test_the_history_tells_that_the_password_was_set_and_no_password(client, alice):
    verified(alice)
    _, message = ask_for_reset(client)
    follow_reset(client, link_in(message))
    entry = LogEntry.objects.get(object_id=str(alice.pk))
    assert "reset link" in entry.change_message
    assert NEW_PASSWORD not in entry.change_message


def test_the_user_is_notified_by_email(client, alice, mailoutbox):
    verified(alice)
    _, message = ask_for_reset(client)
    follow_reset(client, link_in(message))
    assert mailoutbox[-1].to == ["alice@example.com"]
    assert "password" in mailoutbox[-1].subject.lower()


def test_the_time_in_the_notification_is_in_the_users_zone(client, alice, mailoutbox):
    User.objects.filter(pk=alice.pk).update(time_zone="Asia/Tokyo")
    verified(alice)
    _, message = ask_for_reset(client)
    follow_reset(client, link_in(message))
    assert re.search(r"^When: \d{4}-\d\d-\d\d \d\d:\d\d JST$", mailoutbox[-1].body, re.MULTILINE)


def end_by_suspension(user):
    user.suspend()
    user.reactivate()


def end_by_deletion(user):
    user.delete()
    user.restore()


def change_the_password(user):
    user.set_password("something else 3")
    user.save(update_fields=["password"])


def move_the_address(user):
    user.email = "elsewhere@example.com"
    user.save(update_fields=["email"])


@pytest.mark.parametrize(
    "event",
    [
        end_by_suspension,
        end_by_deletion,
        change_the_password,
        move_the_address,
        User.end_sessions,
        User.suspend,
        User.delete,
    ],
)
def test_a_link_from_before_is_dead_after(client, alice, event):
    verified(alice)
    _, message = ask_for_reset(client)
    event(User.objects.get(pk=alice.pk))
    page = client.get(link_in(message), follow=True)
    assert "has expired" in page.content.decode()


def test_a_link_that_was_opened_in_time_is_dead_when_the_form_comes_late(client, alice):
    verified(alice)
    _, message = ask_for_reset(client)
    form = client.get(link_in(message), follow=True)
    alice.suspend()
    client.post(form.wsgi_request.path, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


@pytest.mark.parametrize(
    "link", ["/accounts/password/reset/key/1-abc/", "/accounts/password/reset/key/zzzzzzzzzzzzz-x-y/"]
)
def test_a_made_up_link_is_rejected(client, db, link):
    assert "has expired" in client.get(link, follow=True).content.decode()


def test_the_link_of_one_user_does_not_open_another(client, alice, bob):
    verified(alice)
    verified(bob)
    _, message = ask_for_reset(client)
    key = link_in(message).rpartition("/key/")[2].partition("-")[2]
    from django.utils.http import int_to_base36

    foreign = f"/accounts/password/reset/key/{int_to_base36(bob.pk)}-{key}"
    assert "has expired" in client.get(foreign, follow=True).content.decode()


def test_known_unknown_suspended_and_deleted_addresses_get_the_same_answer(client, alice, bob, charlie):
    for user in (alice, bob, charlie):
        verified(user)
    bob.suspend()
    charlie.delete()
    for name in ("alice", "nobody", "bob", "charlie"):
        response, message = ask_for_reset(client, f"{name}@example.com")
        assert response.status_code == 302
        assert response["Location"] == "/accounts/password/reset/done/"
        assert message.to == [f"{name}@example.com"]
        assert ("/reset/key/" in message.body) == (name == "alice")


def test_the_link_goes_to_the_stored_address_in_any_spelling_that_is_typed(client, alice):
    verified(alice)
    _, message = ask_for_reset(client, "ALICE@Example.Com")
    assert message.to == ["alice@example.com"]


def test_a_hostile_host_gets_no_email_sent(client, alice, mailoutbox):
    verified(alice)
    response = client.post(
        "/accounts/password/reset/", {"email": "alice@example.com"}, headers={"Host": "evil.example"}
    )
    assert response.status_code == 400
    assert not mailoutbox


def test_a_forged_forwarded_host_is_not_in_the_link(client, alice):
    verified(alice)
    client.post(
        "/accounts/password/reset/", {"email": "alice@example.com"}, headers={"X-Forwarded-Host": "evil.example"}
    )
    from django.core import mail

    assert "evil.example" not in mail.outbox[0].body
    assert "http://testserver/" in mail.outbox[0].body


@pytest.mark.parametrize("password", ["short", "alice123", "12345678901", "password", "x" * 129])
def test_a_new_password_must_meet_the_rules(client, alice, password):
    verified(alice)
    _, message = ask_for_reset(client)
    response = follow_reset(client, link_in(message), password)
    assert response.status_code == 200
    assert response.context["form"].errors["password1"]
    assert f'value="{password}"' not in response.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_an_unavailable_mail_server_changes_nothing_in_the_response(client, alice, settings, caplog):
    verified(alice)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    for name in ("alice", "nobody"):
        response = client.post("/accounts/password/reset/", {"email": f"{name}@example.com"})
        assert response["Location"] == "/accounts/password/reset/done/"
    assert "could not be sent" in caplog.text
    assert "@example.com" not in caplog.text


def test_a_user_from_a_provider_sets_a_first_password_by_email(client, free, mailoutbox):
    user = make_verified("dora")
    user.set_unusable_password()
    user.save(update_fields=["password"])
    client.force_login(user)
    assert client.get("/accounts/password/change/")["Location"] == "/accounts/password/set/"
    assert client.get("/accounts/password/set/").status_code == 200
    client.post("/accounts/password/set/")
    assert mailoutbox[0].to == ["dora@example.com"]
    follow_reset(Client(), link_in(mailoutbox[0]))
    user.refresh_from_db()
    assert user.check_password(NEW_PASSWORD)


def test_a_user_with_a_password_changes_it_instead_of_setting_one(client, alice):
    client.force_login(alice)
    assert client.post("/accounts/password/set/")["Location"] == "/accounts/password/change/"


def test_a_changed_password_keeps_this_session_and_ends_the_others(client, alice):
    verified(alice)
    elsewhere = Client()
    sign_in(client, "alice")
    sign_in(elsewhere, "alice")
    response = client.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD},
    )
    assert response.status_code == 302
    assert is_signed_in(client)
    assert not is_signed_in(elsewhere)


def test_the_old_password_is_needed_for_a_new_one(client, alice):
    client.force_login(alice)
    response = client.post(
        "/accounts/password/change/", {"oldpassword": "wrong", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    )
    assert response.context["form"].errors["oldpassword"]
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
