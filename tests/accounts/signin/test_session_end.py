"""What ends a session, and the list of sessions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.signin.middleware import SEEN_AT, SEEN_EVERY
from tests.accounts.signin.steps import PASSWORD, is_signed_in, sign_in, verified


@pytest.mark.parametrize("event", [User.suspend, User.delete, User.end_sessions])
def test_a_session_ends_on_its_next_request(client, alice, event):
    verified(alice)
    sign_in(client, "alice")
    event(User.objects.get(pk=alice.pk))
    assert not is_signed_in(client)


@pytest.mark.parametrize(("end", "restore"), [(User.suspend, User.reactivate), (User.delete, User.restore)])
def test_previous_sessions_stay_signed_out_when_the_user_is_restored(client, alice, end, restore):
    verified(alice)
    sign_in(client, "alice")
    cookie = client.cookies["session"].value
    end(alice)
    restore(alice)
    returning = Client()
    returning.cookies["session"] = cookie
    assert not is_signed_in(returning)
    sign_in(returning, "alice")
    assert is_signed_in(returning)


def save_suspended(user):
    user.is_active = False
    user.save()


def save_only_the_suspension(user):
    user.is_active = False
    user.save(update_fields=["is_active"])


def update_to_suspended(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize("suspend", [save_suspended, save_only_the_suspension, update_to_suspended])
def test_previous_sessions_stay_signed_out_however_the_user_is_suspended(client, alice, suspend):
    verified(alice)
    sign_in(client, "alice")
    suspend(User.objects.get(pk=alice.pk))
    alice.reactivate()
    assert not is_signed_in(client)


def test_saving_another_field_of_a_suspended_user_keeps_the_session_epoch(alice):
    alice.suspend()
    before = alice.session_epoch
    alice.save(update_fields=["name"])
    alice.refresh_from_db()
    assert alice.session_epoch == before


def test_deleting_a_queryset_ends_sessions(client, alice):
    client.force_login(alice)
    User.objects.filter(pk=alice.pk).delete()
    User.objects.filter(pk=alice.pk).restore()
    assert not is_signed_in(client)


def test_saving_a_stale_instance_keeps_the_session_epoch(client, alice):
    stale = User.objects.get(pk=alice.pk)
    client.force_login(alice)
    alice.end_sessions()
    stale.name = "Alice Again"
    stale.save()
    assert not is_signed_in(client)
    alice.refresh_from_db()
    assert (alice.name, alice.session_epoch) == ("Alice Again", 1)


def test_saving_a_new_password_ends_sessions_once(alice):
    alice.set_password("something else 3")
    alice.save()
    assert User.objects.get(pk=alice.pk).session_epoch == 1
    alice.save()
    assert User.objects.get(pk=alice.pk).session_epoch == 1


def test_upgrading_a_password_hash_at_sign_in_keeps_the_session(client, alice):
    verified(alice)
    User.objects.filter(pk=alice.pk).update(password=PBKDF2PasswordHasher().encode(PASSWORD, "salt", 1000))
    sign_in(client, "alice")
    assert is_signed_in(client)
    alice.refresh_from_db()
    assert alice.password.startswith("argon2$")


def test_losing_staff_status_takes_effect_on_the_next_request(client, sue):
    client.force_login(sue)
    assert client.get("/admin/").status_code == 200
    User.objects.filter(pk=sue.pk).update(is_staff=False)
    assert client.get("/admin/").status_code == 302


def test_a_session_survives_a_new_secret_key_while_the_old_one_is_a_fallback(client, alice, settings):
    verified(alice)
    sign_in(client, "alice")
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, [old]
    assert is_signed_in(client)


def test_sessions_are_listed_with_browser_and_address(client, alice):
    verified(alice)
    sign_in(client, "alice", headers={"User-Agent": "<b>Firefox</b>"})
    sign_in(Client(), "alice", headers={"User-Agent": "Phone"})
    page = client.get("/accounts/sessions/")
    assert page.context["session_count"] == 2
    text = page.content.decode()
    assert "&lt;b&gt;Firefox" in text
    assert "<b>Firefox" not in text
    assert "127.0.0.1" in text


def test_a_user_can_end_another_of_their_sessions(client, alice):
    verified(alice)
    phone = Client()
    sign_in(phone, "alice")
    sign_in(client, "alice")
    other = next(
        row
        for row in client.get("/accounts/sessions/").context["sessions"]
        if row.session_key == phone.session.session_key
    )
    assert client.post(f"/accounts/sessions/{other.pk}/end/")["Location"] == "/accounts/sessions/"
    assert not is_signed_in(phone)
    assert is_signed_in(client)


def test_ending_the_current_session_redirects_to_sign_in(client, alice):
    verified(alice)
    sign_in(client, "alice")
    own = client.get("/accounts/sessions/").context["sessions"][0]
    assert client.post(f"/accounts/sessions/{own.pk}/end/")["Location"] == "/accounts/login/"
    assert not is_signed_in(client)


def test_the_list_shows_when_and_from_where_a_session_was_last_used(client, alice):
    verified(alice)
    sign_in(client, "alice")
    long_ago = timezone.now() - timedelta(hours=2)
    UserSession.objects.update(last_seen_at=long_ago)
    is_signed_in(client)
    assert UserSession.objects.get().last_seen_at == long_ago  # updated at most every five minutes
    session = client.session
    session[SEEN_AT] -= SEEN_EVERY + 1
    session.save()
    client.get("/accounts/email/", REMOTE_ADDR="203.0.113.9")
    row = UserSession.objects.get()
    assert timezone.now() - row.last_seen_at < timedelta(minutes=1)
    assert row.ip == "203.0.113.9"


def test_a_user_can_end_all_other_sessions_at_once(client, alice):
    verified(alice)
    others = [Client(), Client()]
    for other in (*others, client):
        sign_in(other, "alice")
    client.post("/accounts/sessions/")
    assert [is_signed_in(other) for other in others] == [False, False]
    assert is_signed_in(client)


def test_another_users_session_is_not_found(client, alice, bob):
    verified(alice)
    verified(bob)
    sign_in(client, "alice")
    foreign = client.get("/accounts/sessions/").context["sessions"][0]
    outsider = Client()
    sign_in(outsider, "bob")
    assert outsider.post(f"/accounts/sessions/{foreign.pk}/end/").status_code == 404
    assert outsider.post("/accounts/sessions/999999/end/").status_code == 404
    assert is_signed_in(client)


def test_ending_a_session_requires_sign_in_and_post(client, alice):
    assert client.post("/accounts/sessions/1/end/")["Location"].startswith("/accounts/login/")
    client.force_login(alice)
    assert client.get("/accounts/sessions/1/end/").status_code == 405


@pytest.mark.parametrize("count", [1, 6])
def test_the_number_of_queries_does_not_grow_with_sessions(client, alice, count, django_assert_num_queries):
    verified(alice)
    for _ in range(count - 1):
        sign_in(Client(), "alice")
    sign_in(client, "alice")
    with django_assert_num_queries(5):  # session, user, known sessions, stored sessions, configured providers
        assert client.get("/accounts/sessions/").context["session_count"] == count


def test_ended_sessions_are_not_listed(client, alice):
    verified(alice)
    sign_in(Client(), "alice")
    alice.end_sessions()
    sign_in(client, "alice")
    assert client.get("/accounts/sessions/").context["session_count"] == 1
