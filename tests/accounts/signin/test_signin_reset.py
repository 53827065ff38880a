"""Password reset: the email, its link, and what invalidates the link."""

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


def test_the_reset_is_recorded_without_the_password(client, alice):
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


def test_the_notification_shows_the_time_in_the_users_time_zone(client, alice, mailoutbox):
    User.objects.filter(pk=alice.pk).update(time_zone="Asia/Tokyo")
    verified(alice)
    _, message = ask_for_reset(client)
    follow_reset(client, link_in(message))
    assert re.search(r"^When: \d{4}-\d\d-\d\d \d\d:\d\d JST$", mailoutbox[-1].body, re.MULTILINE)


def suspend_and_reactivate(user):
    user.suspend()
    user.reactivate()


def delete_and_restore(user):
    user.delete()
    user.restore()


def change_password(user):
    user.set_password("something else 3")
    user.save(update_fields=["password"])


def change_address(user):
    user.email = "elsewhere@example.com"
    user.save(update_fields=["email"])


@pytest.mark.parametrize(
    "event",
    [
        suspend_and_reactivate,
        delete_and_restore,
        change_password,
        change_address,
        User.end_sessions,
        User.suspend,
        User.delete,
    ],
)
def test_an_earlier_link_stops_working(client, alice, event):
    verified(alice)
    _, message = ask_for_reset(client)
    event(User.objects.get(pk=alice.pk))
    page = client.get(link_in(message), follow=True)
    assert "has expired" in page.content.decode()


def test_an_open_reset_form_is_rejected_after_suspension(client, alice):
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
def test_an_invalid_link_is_rejected(client, db, link):
    assert "has expired" in client.get(link, follow=True).content.decode()


def test_a_link_does_not_work_for_another_user(client, alice, bob):
    verified(alice)
    verified(bob)
    _, message = ask_for_reset(client)
    key = link_in(message).rpartition("/key/")[2].partition("-")[2]
    from django.utils.http import int_to_base36

    foreign = f"/accounts/password/reset/key/{int_to_base36(bob.pk)}-{key}"
    assert "has expired" in client.get(foreign, follow=True).content.decode()


def test_unknown_suspended_and_deleted_users_get_the_same_response(client, alice, bob, charlie):
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


def test_the_link_is_sent_to_the_stored_address(client, alice):
    verified(alice)
    _, message = ask_for_reset(client, "ALICE@Example.Com")
    assert message.to == ["alice@example.com"]


def test_a_request_with_an_unknown_host_sends_no_email(client, alice, mailoutbox):
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
def test_a_new_password_has_to_pass_the_validators(client, alice, password):
    verified(alice)
    _, message = ask_for_reset(client)
    response = follow_reset(client, link_in(message), password)
    assert response.status_code == 200
    assert response.context["form"].errors["password1"]
    assert f'value="{password}"' not in response.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_the_response_is_the_same_when_the_mail_server_is_down(client, alice, settings, caplog):
    verified(alice)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    for name in ("alice", "nobody"):
        response = client.post("/accounts/password/reset/", {"email": f"{name}@example.com"})
        assert response["Location"] == "/accounts/password/reset/done/"
    assert "could not be sent" in caplog.text
    assert "@example.com" not in caplog.text


def test_a_user_without_a_password_sets_one_by_email(client, free, mailoutbox):
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


def test_changing_the_password_keeps_the_current_session_and_ends_the_others(client, alice):
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


def test_changing_the_password_requires_the_old_one(client, alice):
    client.force_login(alice)
    response = client.post(
        "/accounts/password/change/", {"oldpassword": "wrong", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    )
    assert response.context["form"].errors["oldpassword"]
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
