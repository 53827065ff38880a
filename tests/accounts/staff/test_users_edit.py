"""/users/add/ and /users/<pk>/edit/: what staff can and can't set."""

from __future__ import annotations

import threading

import pytest
from django.core import mail
from django.db import connection, connections
from django.test import Client

from accounts.addresses import is_verified, set_address
from accounts.models import User
from tests.accounts.people import ALL_USER_PERMISSIONS, history, messages, signed_in
from tests.accounts.signin.steps import follow_reset, is_signed_in, link_in, sign_in
from tests.conftest import make_user
from tests.rows import make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db

NEW = {"name": "Dora New", "username": "dora", "email": "Dora@Example.com", "tier": ""}


def edit(client, user, **values):
    data = {"name": user.name, "username": user.username, "email": user.email, "tier": user.tier_id or ""}
    return client.post(f"/users/{user.pk}/edit/", data | values)


def test_the_default_tier_is_preselected(staff_client, free):
    assert staff_client.get("/users/add/").context["form"]["tier"].value() == free.pk


def test_a_new_user_has_no_password_and_gets_an_email_to_set_one(staff_client, free):
    response = staff_client.post("/users/add/", NEW | {"tier": free.pk, "password": "chosen by staff 1"}, follow=True)
    dora = User.objects.get(username="dora")
    assert response.redirect_chain == [(f"/users/{dora.pk}/", 302)]
    assert (dora.email, dora.tier) == ("dora@example.com", free)
    assert not dora.has_usable_password()
    assert history(dora)[0].summary == "Created."
    (message,) = mail.outbox
    assert message.to == ["dora@example.com"]
    assert "dora" in message.body
    assert not is_verified(dora)
    browser = Client()
    follow_reset(browser, link_in(message))
    dora.refresh_from_db()
    assert dora.check_password("battery staple 2")
    # Using the emailed link also verifies the address.
    assert is_verified(dora)
    sign_in(browser, "dora", "battery staple 2")
    assert is_signed_in(browser)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", "x"), ("name", "x" * 101), ("name", "nul\x00"), ("username", "x"), ("username", "x" * 33),
        ("username", "Upper"), ("username", "sp ace"), ("username", "ünï"),
        ("email", "nonsense"), ("email", "a@" + "x" * 250 + ".com"), ("tier", "99999999999999999999"), ("tier", "x"),
    ],
)  # fmt: skip
def test_invalid_values_are_field_errors_and_the_form_keeps_its_values(staff_client, free, field, value):
    response = staff_client.post("/users/add/", NEW | {field: value})
    form = response.context["form"]
    assert list(form.errors) == [field]
    other = "username" if field != "username" else "name"
    assert form[other].value() == NEW[other]
    assert not User.objects.filter(name=NEW["name"]).exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("username", "alice", "Another user has this username. Choose another one."),
        ("email", "ALICE@example.COM", "Another user has this email address."),
        ("email", " alice@EXAMPLE.com ", "Another user has this email address."),
    ],
)
def test_a_taken_username_or_address_is_a_field_error(staff_client, alice, field, value, message):
    response = staff_client.post("/users/add/", NEW | {field: value})
    assert response.context["form"].errors[field] == [message]


def test_names_of_deleted_users_can_be_used_again(staff_client, alice):
    alice.delete()
    staff_client.post("/users/add/", NEW | {"username": "alice", "email": "alice@example.com"})
    assert User.objects.live().filter(username="alice").count() == 1


@pytest.mark.parametrize(
    "field", ["is_staff", "is_superuser", "is_active", "password", "session_epoch", "groups", "pk"]
)
def test_fields_that_are_not_on_the_form_are_ignored(staff_client, alice, field):
    edit(staff_client, alice, name="Alice Two", **{field: "1"})
    alice.refresh_from_db()
    assert alice.name == "Alice Two"
    assert not alice.is_staff
    assert not alice.is_superuser
    assert alice.check_password("correct horse 1")
    assert alice.session_epoch == 0


def test_an_edit_is_recorded_with_old_and_new_values(staff_client, alice):
    pro = Tier.objects.create(name="pro")
    edit(staff_client, alice, name="Alice Two", tier=pro.pk)
    assert {(change["field"], change["old"], change["new"]) for change in history(alice)[0].values} == {
        ("name", "Alice", "Alice Two"),
        ("tier", "free", "pro"),
    }


def test_saving_unchanged_adds_no_history_and_keeps_a_deleted_tier(staff_client, alice):
    Tier.objects.filter(pk=alice.tier_id).update(deleted_at="2026-01-01T00:00Z")
    edit(staff_client, alice)
    alice.refresh_from_db()
    assert alice.tier_id is not None
    assert history(alice) == []


def test_an_edit_only_writes_changed_fields(staff_client, alice):
    response = staff_client.get(f"/users/{alice.pk}/edit/")
    assert response.status_code == 200
    alice.suspend()
    edit(staff_client, alice, name="Alice Two")
    alice.refresh_from_db()
    assert not alice.is_active


def test_a_superuser_can_change_an_address_and_both_addresses_are_notified(staff_client, alice):
    set_address(alice, verified=True)
    edit(staff_client, alice, email="New@Example.com")
    alice.refresh_from_db()
    assert alice.email == "new@example.com"
    assert not is_verified(alice)
    assert {message.to[0] for message in mail.outbox} == {"alice@example.com", "new@example.com"}


def test_staff_who_are_not_superusers_cannot_change_an_address(alice):
    client = signed_in(make_staff("steve", *ALL_USER_PERMISSIONS))
    edit(client, alice, email="mine@example.com", name="Alice Two")
    alice.refresh_from_db()
    assert (alice.email, alice.name) == ("alice@example.com", "Alice Two")


def test_staff_cannot_change_their_own_address_here(staff_client, sue):
    edit(staff_client, sue, email="other@example.com")
    sue.refresh_from_db()
    assert sue.email == "sue@example.com"


def test_staff_cannot_edit_superusers(sue):
    client = signed_in(make_staff("steve", *ALL_USER_PERMISSIONS))
    assert client.get(f"/users/{sue.pk}/edit/").status_code == 403
    assert edit(client, sue, name="Owned").status_code == 403


def test_a_deleted_user_cannot_be_edited(staff_client, alice):
    alice.delete()
    response = staff_client.get(f"/users/{alice.pk}/edit/", follow=True)
    assert messages(response) == ["This user is deleted. Restore them before you edit them."]


@pytest.mark.django_db(transaction=True)
def test_adding_an_address_twenty_times_at_once_creates_one_user(free):
    sue = make_user("sue", is_staff=True, is_superuser=True)
    barrier, answers = threading.Barrier(20), []

    def add(client, number):
        barrier.wait()
        response = client.post("/users/add/", NEW | {"username": f"dora{number}", "tier": free.pk})
        answers.append(response)
        connections.close_all()

    threads = [threading.Thread(target=add, args=(signed_in(sue), number)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [302]
    refused = [answer for answer in answers if answer.status_code == 200]
    assert all(answer.context["form"].errors["email"] for answer in refused)
    assert User.objects.filter(email="dora@example.com").count() == 1
    assert connection.vendor in {"sqlite", "postgresql"}


def test_an_invalid_edit_still_shows_the_stored_name_in_the_title(staff_client, alice, bob):
    page = edit(staff_client, alice, username="bob", name="").content.decode()
    assert f'<a href="/users/{alice.pk}/">alice</a>' in page
    assert f"<h1>Edit {alice.name}</h1>" in page
