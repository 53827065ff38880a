"""Undoing edits from the message, or from the row's history until the next change."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from accounts.erasure import erase
from accounts.models import User
from apikeys import services
from apikeys.models import APIKey, KeyPermission
from config.base.history import CHANGE, Author, describe, entries_of
from ratelimits.models import RateLimit
from tests.accounts.people import messages, signed_in
from tests.pages import forms_in, opened, press_undo
from tests.rows import make_key, make_limit, make_staff, make_usage

pytestmark = pytest.mark.django_db

LIMITS = "rate_limits-{}-{}"


def save(client, url, **changes):
    """Save the form of a page with some values changed."""
    sent = opened(client, url) | {field: [value] for field, value in changes.items()}
    return client.post(url, sent, follow=True)


def buttons(response):
    return [form for form in forms_in(response.content.decode()) if "token" in form.fields]


def undo_in_history(client, url):
    return press_undo(client, client.get(url))


def history(row):
    return [describe(entry) for entry in entries_of(row)]


def values_of(row, *names):
    row.refresh_from_db()
    return tuple(getattr(row, name) for name in names)


# --- Rate limits ---


def test_editing_a_tier_limit_can_be_undone(staff_client, free):
    limit = make_limit(free, "/old", name="first", limit=10, period=60)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/change/"
    response = save(staff_client, url, limit="20", path="/new", period="2", name="second")
    assert values_of(limit, "limit", "path", "period", "name") == (20, "/new", 120, "second")
    response = press_undo(staff_client, response)
    assert messages(response) == ["Undone: rate limit “first” changed back."]
    assert values_of(limit, "limit", "path", "period", "name") == (10, "/old", 60, "first")
    assert RateLimit.objects.filter(name_folded="first").exists()
    assert response.request["PATH_INFO"] == url
    assert history(limit)[0].via == "undo"
    assert {"field": "path", "old": "/new", "new": "/old"} in history(limit)[0].values


def test_an_edit_can_be_undone_from_the_history(staff_client, free):
    limit = make_limit(free, limit=10)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/"
    save(staff_client, f"{url}change/", limit="20")
    save(staff_client, f"{url}change/", limit="30")
    page = staff_client.get(f"{url}history/")
    assert len(buttons(page)) == 1
    assert messages(press_undo(staff_client, page)) == [f"Undone: rate limit “{limit}” changed back."]
    assert values_of(limit, "limit") == (20,)
    assert buttons(staff_client.get(f"{url}history/")) == []


def test_the_history_offers_undo_at_the_latest_change(staff_client, free):
    limit = make_limit(free, limit=10)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/"
    save(staff_client, f"{url}change/", limit="20")
    save(staff_client, f"{url}change/", limit="30")
    page = staff_client.get(f"{url}history/").content.decode()
    assert page.index("<ins>30</ins>") < page.index(">Undo</button>") < page.index("<ins>20</ins>")


def test_the_history_offers_undo_to_others_with_permission(staff_client, free):
    limit = make_limit(free, limit=10)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/"
    save(staff_client, f"{url}change/", limit="20")
    reader = signed_in(make_staff("reader", "ratelimits.view_ratelimit"))
    assert buttons(reader.get(f"{url}history/")) == []
    editor = signed_in(make_staff("editor", "ratelimits.view_ratelimit", "ratelimits.change_ratelimit"))
    undo_in_history(editor, f"{url}history/")
    assert values_of(limit, "limit") == (10,)


def test_the_history_of_an_unchanged_row_offers_no_undo(staff_client, free):
    limit = make_limit(free)
    assert buttons(staff_client.get(f"/admin/ratelimits/ratelimit/{limit.pk}/history/")) == []
    assert staff_client.get("/admin/ratelimits/ratelimit/999/history/").status_code == 404


def test_creating_and_saving_unchanged_offer_no_undo(staff_client, free):
    url = "/admin/ratelimits/ratelimit/add/"
    response = save(staff_client, url, tier=str(free.pk), path="/new", limit="5")
    assert buttons(response) == []
    response = save(staff_client, f"/admin/ratelimits/ratelimit/{RateLimit.objects.get().pk}/change/")
    assert buttons(response) == []


def test_later_changes_are_not_overwritten(staff_client, sue, free):
    limit = make_limit(free, limit=10)
    response = save(staff_client, f"/admin/ratelimits/ratelimit/{limit.pk}/change/", limit="20")
    RateLimit.objects.filter(pk=limit.pk).update(limit=30)
    Author(sue).record(limit, CHANGE, note="Raised.")
    (message,) = messages(press_undo(staff_client, response))
    assert message == f"“{limit}” was changed by sue just now, so it wasn't undone."
    assert values_of(limit, "limit") == (30,)


def test_concurrent_changes_are_not_overwritten(staff_client, sue, free, monkeypatch):
    limit = make_limit(free, limit=10)
    response = save(staff_client, f"/admin/ratelimits/ratelimit/{limit.pk}/change/", limit="20")
    select_for_update = RateLimit.objects.select_for_update

    def change_first(**options):
        Author(sue).record(limit, CHANGE, note="Raised.")
        return select_for_update(**options)

    monkeypatch.setattr(RateLimit._default_manager, "select_for_update", change_first)
    (message,) = messages(press_undo(staff_client, response))
    assert message == f"“{limit}” was changed by sue just now, so it wasn't undone."
    assert values_of(limit, "limit") == (20,)


def test_values_that_are_no_longer_valid_are_not_restored(staff_client, free):
    limit = make_limit(free, name="first")
    response = save(staff_client, f"/admin/ratelimits/ratelimit/{limit.pk}/change/", name="second")
    make_limit(free, "/other", name="first")
    message = "Another rate limit has this name. Choose a different name."
    assert messages(press_undo(staff_client, response)) == [message]
    assert values_of(limit, "name") == ("second",)


# --- A user's own rate limits ---


def test_editing_an_own_limit_can_be_undone(staff_client, alice):
    ends = timezone.now() + timedelta(days=3, microseconds=7)
    limit = make_limit(None, user=alice, name="exception", limit=10, ends_at=ends)
    url = f"/users/{alice.pk}/limits/{limit.pk}/"
    response = save(staff_client, url, limit="20", ends_at="")
    assert values_of(limit, "limit", "ends_at") == (20, None)
    assert messages(press_undo(staff_client, response)) == ["Undone: rate limit “exception” changed back."]
    assert values_of(limit, "limit", "ends_at") == (10, ends)
    assert history(alice)[0].summary.startswith("Rate limit “exception” changed back: /orders/*, 10")


def test_an_end_in_the_past_is_not_restored(staff_client, alice):
    limit = make_limit(None, user=alice, ends_at=timezone.now() - timedelta(days=1))
    response = save(staff_client, f"/users/{alice.pk}/limits/{limit.pk}/", ends_at="")
    assert messages(press_undo(staff_client, response)) == [
        "Enter a time in the future. To end this rate limit now, delete it."
    ]


def test_a_top_up_can_be_undone_until_the_next_one(staff_client, alice):
    limit = make_limit(None, user=alice, name="credit", window="total", limit=100)
    sent = {"limit": limit.pk, "amount": "50"}
    first = staff_client.post(f"/users/{alice.pk}/top-up/", sent, follow=True)
    second = staff_client.post(f"/users/{alice.pk}/top-up/", sent, follow=True)
    assert values_of(limit, "limit") == (200,)
    (message,) = messages(press_undo(staff_client, first))
    assert message.startswith("“credit” was changed by ")
    assert messages(press_undo(staff_client, second)) == ["Undone: rate limit “credit” changed back."]
    assert values_of(limit, "limit") == (150,)


def test_staff_cannot_undo_edits_of_own_limits_of_staff(alice):
    limit = make_limit(None, user=alice, name="exception", limit=10)
    person = make_staff("person", "accounts.view_user", "ratelimits.view_ratelimit", "ratelimits.change_ratelimit")
    client = signed_in(person)
    response = save(client, f"/users/{alice.pk}/limits/{limit.pk}/", limit="20")
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert messages(press_undo(client, response)) == ["Only superusers can change “alice”, who is staff."]
    assert values_of(limit, "limit") == (20,)


# --- Tiers ---


def test_editing_a_tier_can_be_undone_with_its_access_and_limits(staff_client, pro):
    kept, gone = make_limit(pro, "/kept", limit=10), make_limit(pro, "/gone")
    url = f"/admin/tiers/tier/{pro.pk}/change/"
    sent = opened(staff_client, url)
    rows = {sent[LIMITS.format(number, "id")][0]: number for number in range(2)}
    changes = {
        "name": "pro 2", "max_keys": "3", "allow": "nothing",
        LIMITS.format(rows[str(kept.pk)], "limit"): "20",
        LIMITS.format(rows[str(gone.pk)], "DELETE"): "on",
        LIMITS.format(2, "path"): "/added", LIMITS.format(2, "limit"): "5",
    }  # fmt: skip
    response = staff_client.post(url, sent | changes, follow=True)
    assert not pro.access.exists()
    assert set(pro.rate_limits.live().values_list("path", "limit")) == {("/kept", 20), ("/added", 5)}
    assert messages(press_undo(staff_client, response)) == ["Undone: tier “pro” changed back."]
    assert values_of(pro, "name", "max_keys") == ("pro", None)
    assert [str(rule.permission) for rule in pro.access.all()] == ["* *"]
    assert set(pro.rate_limits.live().values_list("path", "limit")) == {("/kept", 10), ("/gone", 10)}
    assert history(pro)[0].summary == "Rate limits changed back."


def test_editing_only_the_limits_of_a_tier_can_be_undone(staff_client, pro):
    limit = make_limit(pro, limit=10)
    url = f"/admin/tiers/tier/{pro.pk}/"
    save(staff_client, f"{url}change/", **{LIMITS.format(0, "limit"): "20"})
    assert values_of(limit, "limit") == (20,)
    undo_in_history(staff_client, f"{url}history/")
    assert values_of(limit, "limit") == (10,)


@pytest.mark.parametrize("meanwhile", ["changed", "removed"])
def test_a_tier_edit_is_not_undone_if_one_of_its_limits_changed_since(staff_client, sue, pro, meanwhile):
    limit = make_limit(pro, name="some limit", limit=10)
    changes = {"description": "new", LIMITS.format(0, "limit"): "20"}
    response = save(staff_client, f"/admin/tiers/tier/{pro.pk}/change/", **changes)
    if meanwhile == "changed":
        Author(sue).record(limit, CHANGE, note="Raised.")
        reason = "“some limit” was changed by sue just now, so it wasn't undone."
    else:
        limit.hard_delete()
        reason = "The rate limit “some limit” no longer belongs to this tier."
    assert messages(press_undo(staff_client, response)) == [reason]
    assert values_of(pro, "description") == ("new",)


def test_undoing_limits_of_a_tier_requires_their_permissions(pro, sue):
    limit = make_limit(pro, limit=10)
    save(signed_in(sue), f"/admin/tiers/tier/{pro.pk}/change/", **{LIMITS.format(0, "limit"): "20"})
    client = signed_in(make_staff("person", "tiers.view_tier", "tiers.change_tier"))
    response = undo_in_history(client, f"/admin/tiers/tier/{pro.pk}/history/")
    assert messages(response) == ["You don't have permission to change and delete rate limits."]
    assert values_of(limit, "limit") == (20,)


# --- API keys ---


@pytest.mark.parametrize("place", ["/account/keys/{}/edit/", "/admin/apikeys/apikey/{}/change/"])
def test_editing_a_key_can_be_undone(alice, sue, place):
    fields = {"allowed_ips": ["192.0.2.0/24"], "rate_limit": 5, "rate_period": 60}
    key = make_key(alice, "export", allow=("read /orders/*", "create /orders at api.example.com"), **fields)
    client, url = signed_in(alice if "account" in place else sue), place.format(key.pk)
    changes = {"name": "import", "allowed_ips": "", "rate_limit": "7", "permissions-1-resource": "/users"}
    response = save(client, url, **changes)
    assert values_of(key, "name", "allowed_ips", "rate_limit") == ("import", [], 7)
    assert key.permissions.filter(resource="/users").exists()
    assert messages(press_undo(client, response)) == [f"Undone: API key “{APIKey.objects.get()}” changed back."]
    assert values_of(key, "name", "allowed_ips", "rate_limit") == ("export", ["192.0.2.0/24"], 5)
    assert {str(row.permission) for row in key.permissions.all()} == {
        "read /orders/*", "create /orders at api.example.com"
    }  # fmt: skip
    assert history(key)[0].via == "undo"


def test_saving_a_key_unchanged_offers_no_undo(alice):
    key = make_key(alice, "export")
    response = save(signed_in(alice), f"/account/keys/{key.pk}/edit/")
    assert messages(response) == ["Nothing changed."]
    assert buttons(response) == []


def test_editing_a_key_can_be_undone_from_the_history_until_it_ends(staff_client, alice, sue):
    key = make_key(alice, "export")
    save(staff_client, f"/admin/apikeys/apikey/{key.pk}/change/", name="import")
    response = save(staff_client, f"/admin/apikeys/apikey/{key.pk}/change/", name="copy")
    undo_in_history(staff_client, f"/admin/apikeys/apikey/{key.pk}/history/")
    assert values_of(key, "name") == ("import",)
    response = save(staff_client, f"/admin/apikeys/apikey/{key.pk}/change/", name="copy")
    APIKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
    assert messages(press_undo(staff_client, response)) == ["This key is revoked permanently. Create a new one."]
    assert values_of(key, "name") == ("copy",)


def test_expiring_and_revoking_offer_no_undo(staff_client, alice):
    key = make_key(alice, "export")
    url = f"/admin/apikeys/apikey/{key.pk}/"
    expiry = {"expires_at": f"{timezone.now() + timedelta(days=9):%Y-%m-%d}"}
    assert buttons(staff_client.post(f"{url}expire/", expiry, follow=True)) == []
    assert buttons(staff_client.get(f"{url}history/")) == []
    assert buttons(staff_client.post(f"{url}revoke/", {"reason": "leaked"}, follow=True)) == []
    assert buttons(staff_client.get(f"{url}history/")) == []


def test_removing_unused_permissions_can_be_undone(staff_client, alice):
    keys = [make_key(alice, f"key {number}", allow=("read /orders/*", "read /users/*")) for number in range(2)]
    APIKey.objects.update(last_used_at=timezone.now())
    for key in keys:
        make_usage(key, endpoint="/orders/1")
    data = {"action": "trim", "pk": [key.pk for key in keys], "expected": "2"}
    response = staff_client.post("/admin/apikeys/apikey/bulk/", data, follow=True)
    assert KeyPermission.objects.count() == 2
    assert messages(press_undo(staff_client, response)) == ["Undone: 2 API keys changed back."]
    assert KeyPermission.objects.count() == 4


# --- Users ---


def test_a_tier_change_can_be_undone_on_the_users_page(staff_client, alice, free, pro):
    User.objects.filter(pk=alice.pk).update(tier=free)
    staff_client.post(f"/users/{alice.pk}/tier/", {"tier": pro.pk})
    staff_client.get(f"/users/{alice.pk}/")  # shows the message, which is gone afterwards
    undo_in_history(staff_client, f"/users/{alice.pk}/")
    assert values_of(alice, "tier") == (free,)


def test_undo_in_a_users_history_changes_only_that_user(staff_client, alice, bob, free, pro):
    User.objects.filter(pk__in=[alice.pk, bob.pk]).update(tier=free)
    data = {"action": "tier", "tier": pro.pk, "pk": [alice.pk, bob.pk], "expected": 2}
    staff_client.post("/users/bulk/", data)
    staff_client.get(f"/users/{alice.pk}/")
    undo_in_history(staff_client, f"/users/{bob.pk}/")
    assert (*values_of(alice, "tier"), *values_of(bob, "tier")) == (pro, free)


def test_undo_is_not_offered_without_permission(staff_client, alice, free, pro):
    User.objects.filter(pk=alice.pk).update(tier=free)
    staff_client.post(f"/users/{alice.pk}/tier/", {"tier": pro.pk})
    assert buttons(signed_in(make_staff("reader", "accounts.view_user")).get(f"/users/{alice.pk}/")) == []
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    editor = signed_in(make_staff("editor", "accounts.view_user", "accounts.change_user"))
    assert buttons(editor.get(f"/users/{alice.pk}/")) == []


def test_erasing_a_user_removes_former_values(sue, alice):
    key = make_key(alice, "of alice", allowed_ips=["192.0.2.7"])
    services.edit_key(key, Author(sue, operation="abc"), name="other", allowed_ips=[])
    assert json.loads(LogEntry.objects.latest("pk").change_message)[0]["former"]["name"] == "of alice"
    erase(alice, Author(sue))
    assert not LogEntry.objects.filter(change_message__contains='"former"').exists()


def test_former_values_are_only_stored_for_changes_that_can_be_undone(alice, sue):
    key = make_key(alice, "export")
    services.edit_key(key, Author(sue), name="other")
    assert "former" not in LogEntry.objects.latest("pk").change_message
