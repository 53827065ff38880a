"""Undo: the button in the message about an action reverses it, unless there's a reason not to."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.core import signing
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey
from config.base import undo
from config.base.admin_soft_delete import SoftDeleteAdmin
from config.base.history import CHANGE, Author, describe
from ratelimits.models import RateLimit
from tests.accounts.people import history, messages, signed_in
from tests.conftest import make_user
from tests.pages import forms_in, press_undo
from tests.rows import make_key, make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def bulk(client, users, action, **more):
    data = {"action": action, "pk": [user.pk for user in users], "expected": len(users), **more}
    return client.post("/users/bulk/", data, follow=True)


def buttons(response):
    return [form for form in forms_in(response.content.decode()) if "token" in form.fields]


# --- Actions that can be undone ---


def test_deleting_and_restoring_undo_each_other():
    admin = SoftDeleteAdmin(Tier, site)
    assert admin.undo_actions == admin.row_actions


def test_a_bulk_deletion_can_be_undone(staff_client):
    users = [make_user(f"person{number}") for number in range(3)]
    response = press_undo(staff_client, bulk(staff_client, users, "delete"))
    assert messages(response) == ["Undone: 3 users restored."]
    assert response.request["PATH_INFO"] == "/users/"
    assert not User.objects.deleted().exists()
    assert {history(user)[0].via for user in users} == {"undo"}


def test_users_moved_in_bulk_return_to_their_previous_tiers(staff_client, alice, bob, free, pro):
    until = timezone.now() + timedelta(days=3)
    User.objects.filter(pk=alice.pk).update(tier=free, tier_until=until)
    User.objects.filter(pk=bob.pk).update(tier=None)
    response = bulk(staff_client, [alice, bob], "tier", tier=pro.pk)
    assert User.objects.filter(tier=pro).count() == 2
    assert messages(press_undo(staff_client, response)) == ["Undone: 2 users changed back."]
    alice.refresh_from_db()
    bob.refresh_from_db()
    assert (alice.tier, alice.tier_until) == (free, until)
    assert (bob.tier, bob.tier_until) == (None, None)


def test_a_tier_change_can_be_undone(staff_client, alice, free, pro):
    response = staff_client.post(f"/users/{alice.pk}/tier/", {"tier": pro.pk}, follow=True)
    assert messages(press_undo(staff_client, response)) == ["Undone: user “alice” changed back."]
    alice.refresh_from_db()
    assert alice.tier == free
    assert history(alice)[0].values == [{"field": "tier", "old": "pro", "new": "free"}]


@pytest.mark.parametrize("deletion", ["soft", "hard"])
def test_a_user_is_not_moved_back_to_a_deleted_tier(staff_client, alice, pro, free, deletion):
    User.objects.filter(pk=alice.pk).update(tier=pro)
    response = staff_client.post(f"/users/{alice.pk}/tier/", {"tier": free.pk}, follow=True)
    pro.delete() if deletion == "soft" else pro.hard_delete()
    noun = "the tier “pro”" if deletion == "soft" else "their previous tier"
    assert messages(press_undo(staff_client, response)) == [f"1 user not moved back: {noun} has been deleted."]
    alice.refresh_from_db()
    assert alice.tier == free


def test_errors_of_the_undo_action_are_shown(staff_client, alice, monkeypatch):
    response = staff_client.post(f"/users/{alice.pk}/suspend/", follow=True)

    def refuse(self, rows, author, data):
        raise ValidationError("Not at the moment.")

    monkeypatch.setattr("accounts.staff.actions.Reactivate.perform", refuse)
    assert messages(press_undo(staff_client, response)) == ["Not at the moment."]
    alice.refresh_from_db()
    assert not alice.is_active


@pytest.mark.parametrize("path", ["/account/keys/{}/disable/", "/admin/apikeys/apikey/{}/disable/"])
def test_disabling_a_key_can_be_undone(alice, sue, path):
    key = make_key(alice, "export")
    client = signed_in(alice if path.startswith("/account") else sue)
    response = press_undo(client, client.post(path.format(key.pk), follow=True))
    assert messages(response) == [f"Undone: API key “{key}” enabled."]
    assert APIKey.objects.effective().filter(pk=key.pk).exists()


def test_disabling_keys_in_the_list_can_be_undone(staff_client, alice):
    keys = [make_key(alice, f"key {number}") for number in range(2)]
    data = {"action": "disable_selected", "_selected_action": [key.pk for key in keys], "expected": "2"}
    response = press_undo(staff_client, staff_client.post("/admin/apikeys/apikey/", data, follow=True))
    assert messages(response) == ["Undone: 2 API keys enabled."]
    assert APIKey.objects.effective().count() == 2


MAKERS = {
    "accounts/user": lambda: make_user("someone"),
    "tiers/tier": lambda: Tier.objects.create(name="some tier"),
    "ratelimits/ratelimit": lambda: make_limit(Tier.objects.create(name="other"), name="some limit"),
    "apikeys/apikey": lambda: make_key(make_user("owner"), "some key"),
}


@pytest.mark.parametrize("place", MAKERS)
@pytest.mark.parametrize("many", [False, True])
def test_deletions_in_the_admin_can_be_undone(staff_client, place, many):
    row = MAKERS[place]()
    if many:
        data = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        response = staff_client.post(f"/admin/{place}/", data, follow=True)
    else:
        response = staff_client.post(f"/admin/{place}/{row.pk}/delete/", {"post": "yes"}, follow=True)
    assert type(row).objects.deleted().exists()
    response = press_undo(staff_client, response)
    assert messages(response) == [f"Undone: {row._meta.verbose_name} “{row}” restored."]
    assert response.request["PATH_INFO"] == f"/admin/{place}/{row.pk}/change/"
    assert not type(row).objects.deleted().exists()


def test_switching_limits_to_observe_can_be_undone(staff_client, free):
    limits = [make_limit(free, f"/{number}") for number in range(2)]
    data = {"action": "observe_selected", "_selected_action": [limit.pk for limit in limits], "expected": "2"}
    response = press_undo(staff_client, staff_client.post("/admin/ratelimits/ratelimit/", data, follow=True))
    assert messages(response) == ["Undone: 2 rate limits set to enforce."]
    assert not RateLimit.objects.filter(mode="observe").exists()


def test_ending_an_own_limit_can_be_undone(staff_client, alice):
    limit = make_limit(None, user=alice, name="exception")
    response = staff_client.post(f"/users/{alice.pk}/limits/{limit.pk}/end/", follow=True)
    response = press_undo(staff_client, response)
    assert messages(response) == ["Undone: rate limit “exception” restored."]
    assert RateLimit.objects.effective().filter(pk=limit.pk).exists()
    assert history(alice)[0].summary.startswith("Rate limit “exception” restored")


def test_deleting_a_tier_can_be_undone_with_its_limits_and_unchanged_users(staff_client, alice, bob, free, pro):
    User.objects.filter(pk__in=[alice.pk, bob.pk]).update(tier=pro)
    limit = make_limit(pro)
    response = staff_client.post(
        f"/admin/tiers/tier/{pro.pk}/delete/", {"move_users_to": free.pk, "delete_limits": "on"}, follow=True
    )
    assert not Tier.objects.live().filter(pk=pro.pk).exists()
    staff_client.post(f"/users/{bob.pk}/suspend/", follow=True)
    assert messages(press_undo(staff_client, response)) == ["Undone: tier “pro” restored."]
    assert RateLimit.objects.live().filter(pk=limit.pk).exists()
    assert list(pro.users.live()) == [alice]
    assert history(alice)[0].values == [{"field": "tier", "old": "free", "new": "pro"}]


def test_restoring_a_tier_skips_what_the_user_has_no_permission_for(alice, free, pro):
    User.objects.filter(pk=alice.pk).update(tier=pro)
    limit = make_limit(pro)
    needed = ("tiers.view_tier", "tiers.delete_tier", "accounts.change_user", "ratelimits.delete_ratelimit")
    person = make_staff("person", *needed)
    client = signed_in(person)
    response = client.post(
        f"/admin/tiers/tier/{pro.pk}/delete/", {"move_users_to": free.pk, "delete_limits": "on"}, follow=True
    )
    person.user_permissions.remove(*person.user_permissions.filter(codename__in=["change_user", "delete_ratelimit"]))
    assert messages(press_undo(client, response)) == [
        "Undone: tier “pro” restored.",
        "You don't have permission to change users, so they weren't moved back.",
        "You don't have permission to delete rate limits, so those of the tier weren't restored.",
    ]
    assert Tier.objects.live().filter(pk=pro.pk).exists()
    assert not RateLimit.objects.live().filter(pk=limit.pk).exists()
    assert not pro.users.live().exists()


# --- Actions that can't be undone ---


def test_a_username_taken_meanwhile_is_an_error(staff_client, alice):
    response = staff_client.post(f"/users/{alice.pk}/delete/", follow=True)
    make_user("alice")
    (message,) = messages(press_undo(staff_client, response))
    assert message.startswith("User “alice” can't be restored because the user “alice” has the same username.")
    assert User.objects.deleted().filter(pk=alice.pk).exists()


def test_rows_changed_meanwhile_are_skipped(staff_client, alice, bob, sue):
    response = bulk(staff_client, [alice, bob], "suspend")
    Author(sue).record(bob, CHANGE, note="Looked at.")
    assert messages(press_undo(staff_client, response)) == [
        "Undone: 1 user reactivated.",
        "“bob” was changed by sue just now, so it wasn't undone.",
    ]
    assert list(User.objects.suspended()) == [bob]


def test_undoing_twice_is_rejected(staff_client, alice):
    response = staff_client.post(f"/users/{alice.pk}/suspend/", follow=True)
    press_undo(staff_client, response)
    (message,) = messages(press_undo(staff_client, response))
    assert message.startswith("“alice” was changed by ")


def test_removed_rows_and_rows_in_another_state_are_reported(staff_client, alice, bob):
    response = bulk(staff_client, [alice, bob], "delete")
    alice.hard_delete()
    User.objects.filter(pk=bob.pk).update(deleted_at=None)
    assert sorted(messages(press_undo(staff_client, response))) == [
        "Nothing to do: user “bob” is active.",
        "“alice” no longer exists.",
    ]


def test_undoing_for_a_removed_row_redirects_to_the_list(staff_client, alice):
    response = staff_client.post(f"/users/{alice.pk}/delete/", follow=True)
    alice.hard_delete()
    response = press_undo(staff_client, response)
    assert messages(response) == ["“alice” no longer exists."]
    assert response.request["PATH_INFO"] == "/users/"


def test_permissions_are_checked_again(alice):
    person = make_staff("person", "accounts.view_user", "accounts.change_user")
    client = signed_in(person)
    response = client.post(f"/users/{alice.pk}/suspend/", follow=True)
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert messages(press_undo(client, response)) == ["Only superusers can change “alice”, who is staff."]
    person.user_permissions.clear()
    (form,) = buttons(response)
    assert client.post(form.address, form.sent).status_code == 403
    assert User.objects.suspended().filter(pk=alice.pk).exists()


def test_staff_cannot_restore_own_limits_of_staff(alice):
    limit = make_limit(None, user=alice, name="exception")
    person = make_staff("person", "accounts.view_user", "ratelimits.view_ratelimit", "ratelimits.delete_ratelimit")
    client = signed_in(person)
    response = client.post(f"/users/{alice.pk}/limits/{limit.pk}/end/", follow=True)
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert messages(press_undo(client, response)) == ["Only superusers can change “alice”, who is staff."]


EXPIRED = ["You can no longer undo this. You can undo your own changes for an hour."]


def test_undo_works_for_an_hour_and_only_for_the_same_user(staff_client, alice, sue, monkeypatch):
    response = staff_client.post(f"/users/{alice.pk}/suspend/", follow=True)
    (form,) = buttons(response)
    other = signed_in(make_user("other", is_staff=True, is_superuser=True))
    assert messages(other.post(form.address, form.sent, follow=True)) == EXPIRED
    monkeypatch.setattr(undo, "LIFE", timedelta(seconds=-1))
    assert messages(press_undo(staff_client, response)) == EXPIRED
    assert User.objects.suspended().filter(pk=alice.pk).exists()


@pytest.mark.parametrize("url", ["/users/undo/", "/account/keys/undo/", "/admin/tiers/tier/undo/"])
def test_invalid_tokens_are_rejected(staff_client, url):
    for token in ("", "x", signing.dumps(["x"]), "\0", "é" * 5000):
        assert messages(staff_client.post(url, {"token": token}, follow=True)) == EXPIRED
    assert staff_client.get(url).status_code == 405


def test_a_token_of_another_section_is_rejected(staff_client, alice):
    response = staff_client.post(f"/users/{alice.pk}/suspend/", follow=True)
    (form,) = buttons(response)
    assert messages(staff_client.post("/admin/tiers/tier/undo/", form.sent, follow=True)) == EXPIRED


def test_undo_is_not_offered_for_too_many_rows(staff_client, alice, bob, monkeypatch):
    monkeypatch.setattr("config.base.actions.MAX_ROWS", 1)
    response = bulk(staff_client, [alice, bob], "suspend")
    assert messages(response) == ["2 users suspended."]
    assert buttons(response) == []


def test_undo_is_not_offered_for_actions_without_an_opposite(staff_client, alice):
    response = staff_client.post(f"/users/{alice.pk}/sign-out/", follow=True)
    assert messages(response) == ["User “alice” signed out everywhere."]
    assert buttons(response) == []


# --- The button ---


def test_the_button_requires_a_csrf_token_and_contains_only_ids_and_an_action(alice, sue):
    client = Client(enforce_csrf_checks=True)
    client.force_login(sue)
    page = client.get(f"/users/{alice.pk}/suspend/").content.decode()
    form = next(form for form in forms_in(page, f"/users/{alice.pk}/suspend/") if form.address.endswith("/suspend/"))
    response = client.post(form.address, form.sent, follow=True)
    (button,) = buttons(response)
    assert client.post(button.address, {"token": button.sent["token"]}).status_code == 403
    content = signing.loads(button.sent["token"][0], salt=undo.SALT)
    first = LogEntry.objects.latest("pk").pk
    assert [content[0], content[1], content[3:]] == [sue.pk, "reactivate", [first, first]]
    assert messages(client.post(button.address, button.sent, follow=True)) == ["Undone: user “alice” reactivated."]


def test_entries_of_other_actions_in_between_are_ignored(staff_client, alice, bob, sue):
    users = [make_user(f"person{number}") for number in range(3)]
    response = bulk(staff_client, users, "suspend")
    (form,) = buttons(response)
    token = undo.Token(*signing.loads(form.sent["token"][0], salt=undo.SALT))
    # As if the same user had suspended Bob in another window.
    staff_client.post(f"/users/{bob.pk}/suspend/", follow=True)
    sent = {"token": signing.dumps(token._replace(last=token.last + 100), salt=undo.SALT)}
    assert messages(staff_client.post("/users/undo/", sent, follow=True))[0] == "Undone: 3 users reactivated."
    assert list(User.objects.suspended()) == [bob]


def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(staff_client, django_assert_max_num_queries):
    for number in (1, 20):
        users = [make_user(f"person{number}-{index}".replace("-", "_")) for index in range(number)]
        response = bulk(staff_client, users, "suspend")
        (form,) = buttons(response)
        with django_assert_max_num_queries(28):
            staff_client.post(form.address, form.sent)


def test_only_actions_that_can_be_undone_have_an_operation(staff_client, alice):
    staff_client.post(f"/users/{alice.pk}/suspend/")
    assert "operation" in LogEntry.objects.latest("pk").change_message
    assert describe(LogEntry.objects.latest("pk")).summary == "Suspended."
    staff_client.post(f"/users/{alice.pk}/sign-out/")
    assert "operation" not in LogEntry.objects.latest("pk").change_message
