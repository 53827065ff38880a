"""Edits of users, by staff or by themselves, can be undone by everyone who has permission to make them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.addresses import is_verified, set_address
from accounts.models import User
from config.base.stale import TOKEN
from tests.accounts.people import ALL_USER_PERMISSIONS, history, messages, signed_in
from tests.accounts.signin.steps import ask_for_reset, is_signed_in, link_in, verified
from tests.conftest import make_user
from tests.pages import forms_in, opened, press_undo
from tests.rows import make_staff

pytestmark = pytest.mark.django_db


def save(client, url, **changes):
    """Save the form of a page with some values changed, and follow to the next page."""
    return client.post(url, opened(client, url, TOKEN) | changes, follow=True)


def edit(client, user, **changes):
    return save(client, f"/users/{user.pk}/edit/", **changes)


def buttons(response):
    return [form for form in forms_in(response.content.decode()) if "token" in form.fields]


def values_of(user, *names):
    user.refresh_from_db()
    return tuple(getattr(user, name) for name in names)


CHANGED_BACK = "Undone: user “{}” changed back."


# --- By staff ---


def test_editing_a_user_can_be_undone(staff_client, alice, free, pro):
    until = timezone.now() + timedelta(days=3, microseconds=7)
    User.objects.filter(pk=alice.pk).update(tier_until=until)
    was = values_of(alice, "name", "username", "tier", "tier_until", "billing_day")
    changes = {"name": "Ally", "username": "ally", "tier": pro.pk, "tier_until": "", "billing_day": "15"}
    response = edit(staff_client, alice, **changes)
    assert values_of(alice, "name", "username", "tier", "tier_until", "billing_day") == ("Ally", "ally", pro, None, 15)
    assert messages(press_undo(staff_client, response)) == [CHANGED_BACK.format("alice")]
    assert values_of(alice, "name", "username", "tier", "tier_until", "billing_day") == was
    assert {change["field"] for change in history(alice)[0].values} == {
        "name", "username", "tier", "tier until", "billing day",
    }  # fmt: skip
    assert history(alice)[0].via == "undo"
    assert User.objects.filter(name_folded="alice", pk=alice.pk).exists()


def test_an_edit_can_be_undone_on_the_users_page(staff_client, alice):
    edit(staff_client, alice, name="Ally")
    staff_client.get(f"/users/{alice.pk}/")  # the message is gone
    page = staff_client.get(f"/users/{alice.pk}/")
    assert len(buttons(page)) == 1
    press_undo(staff_client, page)
    assert values_of(alice, "name") == ("Alice",)
    staff_client.get(f"/users/{alice.pk}/")
    assert buttons(staff_client.get(f"/users/{alice.pk}/")) == []


def test_saving_unchanged_offers_no_undo(staff_client, alice):
    assert buttons(edit(staff_client, alice)) == []


def test_an_edit_in_the_admin_can_be_undone(staff_client, alice):
    url = f"/admin/accounts/user/{alice.pk}/"
    response = save(staff_client, f"{url}change/", name="Ally", is_active=[])
    assert values_of(alice, "name", "is_active") == ("Ally", False)
    assert messages(press_undo(staff_client, response)) == [CHANGED_BACK.format("alice")]
    assert values_of(alice, "name", "is_active") == ("Alice", True)
    save(staff_client, f"{url}change/", name="Ally")
    press_undo(staff_client, staff_client.get(f"{url}history/"))
    assert values_of(alice, "name") == ("Alice",)


def test_changing_staff_access_can_be_undone(staff_client, alice):
    old, new = (Group.objects.create(name=name) for name in ("old", "new"))
    alice.groups.add(old)
    response = save(staff_client, f"/users/{alice.pk}/access/", is_staff="on", groups=[str(new.pk)])
    assert (values_of(alice, "is_staff"), list(alice.groups.all())) == ((True,), [new])
    press_undo(staff_client, response)
    assert (values_of(alice, "is_staff"), list(alice.groups.all())) == ((False,), [old])


def test_a_group_removed_since_is_not_restored(staff_client, alice):
    old = Group.objects.create(name="old")
    alice.groups.add(old)
    response = save(staff_client, f"/users/{alice.pk}/access/", groups=[])
    old.delete()
    press_undo(staff_client, response)
    assert list(alice.groups.all()) == []


# --- An email address ---


@pytest.mark.django_db(transaction=True)  # the emails are sent when the transaction ends
def test_a_restored_address_is_unverified_and_both_addresses_are_notified(staff_client, alice, mailoutbox):
    set_address(alice, verified=True)
    response = edit(staff_client, alice, email="new@example.com")
    mailoutbox.clear()
    press_undo(staff_client, response)
    assert values_of(alice, "email") == ("alice@example.com",)
    assert list(EmailAddress.objects.filter(user=alice).values_list("email", "verified")) == [
        ("alice@example.com", False)
    ]
    assert [message.to for message in mailoutbox] == [["new@example.com"], ["alice@example.com"]]


def test_links_stay_invalid_after_undoing_an_edit(staff_client, alice, mailoutbox):
    verified(alice)
    owner = signed_in(alice)
    _, reset = ask_for_reset(Client())
    response = edit(staff_client, alice, email="new@example.com")
    confirmation = next(message for message in mailoutbox if message.to == ["new@example.com"])
    press_undo(staff_client, response)
    assert "This link has expired" in Client().get(link_in(reset), follow=True).content.decode()
    assert Client().post(link_in(confirmation)).status_code == 404
    assert not is_verified(alice)
    assert not is_signed_in(owner)


def test_staff_without_permission_cannot_change_an_address_back(staff_client, alice):
    edit(staff_client, alice, email="new@example.com")
    steve = make_staff("steve", *ALL_USER_PERMISSIONS)
    client = signed_in(steve)
    assert buttons(client.get(f"/users/{alice.pk}/")) == []
    page = client.get(f"/admin/accounts/user/{alice.pk}/history/")
    message = "You don't have permission to change the email address of “alice”."
    assert messages(press_undo(client, page)) == [message]
    assert values_of(alice, "email") == ("new@example.com",)


# --- Reasons not to ---


def test_staff_cannot_undo_edits_of_a_user_who_became_staff(alice):
    client = signed_in(make_staff("steve", *ALL_USER_PERMISSIONS))
    response = edit(client, alice, name="Ally")
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert messages(press_undo(client, response)) == ["Only superusers can change “alice”, who is staff."]
    assert values_of(alice, "name") == ("Ally",)


@pytest.mark.parametrize(
    ("field", "new", "label"), [("username", "ally", "username"), ("email", "ally@example.com", "email address")]
)
def test_values_taken_by_another_user_are_an_error(staff_client, alice, bob, field, new, label):
    former = getattr(alice, field)
    response = edit(staff_client, alice, **{field: new})
    User.objects.filter(pk=bob.pk).update(**{field: former})
    alice.refresh_from_db()
    message = f"Another user has the {label} {former} now, so “{alice}” wasn't changed back."
    assert messages(press_undo(staff_client, response)) == [message]
    assert values_of(alice, field) == (new,)


@pytest.mark.parametrize("deletion", ["soft", "hard"])
def test_a_user_is_not_moved_back_to_a_deleted_tier(staff_client, alice, pro, deletion):
    User.objects.filter(pk=alice.pk).update(tier=pro)
    response = edit(staff_client, alice, tier="")
    pro.delete() if deletion == "soft" else pro.hard_delete()
    noun = "The tier “pro”" if deletion == "soft" else "The previous tier"
    assert messages(press_undo(staff_client, response)) == [f"{noun} has been deleted, so “alice” wasn't changed back."]


def test_an_end_in_the_past_is_not_restored(staff_client, alice):
    User.objects.filter(pk=alice.pk).update(tier_until=timezone.now() - timedelta(days=1))
    response = edit(staff_client, alice, tier_until="")
    message = "The time on the previous tier has ended, so “alice” wasn't changed back."
    assert messages(press_undo(staff_client, response)) == [message]


def test_later_changes_are_not_overwritten(staff_client, alice, bob):
    response = edit(staff_client, alice, name="Ally")
    root = make_user("root", is_staff=True, is_superuser=True)
    edit(signed_in(root), alice, name="Alison", billing_day="7")
    message = "“alice” was changed by root just now (name, billing day), so it wasn't undone."
    assert messages(press_undo(staff_client, response)) == [message]
    assert values_of(alice, "name", "billing_day") == ("Alison", 7)


def test_a_promotion_can_be_undone_but_not_for_the_last_superuser(staff_client, alice, monkeypatch):
    url = f"/users/{alice.pk}/access/"
    response = save(staff_client, url, is_staff="on", is_superuser="on")
    press_undo(staff_client, response)
    assert values_of(alice, "is_staff", "is_superuser") == (False, False)
    response = save(staff_client, url, is_staff="on", is_superuser="on")
    # As if the other superuser had just been suspended.
    monkeypatch.setattr("accounts.services.would_remove_last_superuser", lambda users: True)
    message = "This is the last superuser who can sign in. Make someone else a superuser first."
    assert messages(press_undo(staff_client, response)) == [message]
    assert values_of(alice, "is_superuser") == (True,)


# --- By the user ---


def test_users_can_undo_an_edit_of_their_profile(alice):
    client = signed_in(alice)
    response = save(client, "/account/", name="Ally", username="ally")
    response = press_undo(client, response)
    assert messages(response) == ["Undone: your last edit."]
    assert response.request["PATH_INFO"] == "/account/"
    assert values_of(alice, "name", "username") == ("Alice", "alice")
    assert history(alice)[0].via == "undo"


def test_users_cannot_undo_edits_by_others_or_of_other_fields(staff_client, alice, sue):
    response = edit(staff_client, sue, billing_day="7")
    form = buttons(response)[0]
    assert messages(staff_client.post("/account/undo/", form.sent, follow=True)) == ["You can't undo this here."]
    assert values_of(sue, "billing_day") == (7,)
    client = signed_in(alice)
    own = buttons(save(client, "/account/", name="Ally"))[0]
    message = "You can no longer undo this. You can undo your own changes for an hour."
    assert messages(staff_client.post("/account/undo/", own.sent, follow=True)) == [message]
    assert values_of(alice, "name") == ("Ally",)
