"""Deleting and restoring in the admin: confirmation pages, actions, errors and permissions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey
from config.base.actions import Action
from config.base.history import describe
from ratelimits.models import RateLimit
from tests.accounts.people import messages
from tests.conftest import make_user
from tests.pages import fields_of
from tests.rows import make_key, make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db

MAKERS = {
    "accounts/user": lambda: make_user("someone"),
    "tiers/tier": lambda: Tier.objects.create(name="some tier"),
    "ratelimits/ratelimit": lambda: make_limit(Tier.objects.create(name="other"), name="some limit"),
    "apikeys/apikey": lambda: make_key(make_user("owner"), "some key"),
}


@pytest.fixture(params=MAKERS)
def place(request):
    return request.param


def test_a_row_can_be_deleted_and_restored_after_confirming(staff_client, place):
    row = MAKERS[place]()
    url = f"/admin/{place}/{row.pk}"
    page = staff_client.get(f"{url}/delete/")
    assert f"Delete {row._meta.verbose_name} “{row}”?" in page.content.decode()
    row.refresh_from_db()
    assert row.deleted_at is None
    page = staff_client.post(f"{url}/delete/", {"post": "yes"}, follow=True)
    assert page.redirect_chain == [("/users/" if place == "accounts/user" else f"/admin/{place}/", 302)]
    name = row._meta.verbose_name
    assert messages(page) == [f"{name[0].upper()}{name[1:]} “{row}” deleted."]
    row.refresh_from_db()
    assert row.deleted_at is not None

    assert "Deleted just now" not in page.content.decode()
    page = staff_client.get(f"{url}/change/").content.decode()
    assert "Restore it to edit it." in page
    assert f"{url}/restore/" in page
    assert staff_client.get(f"{url}/delete/").status_code == 403
    assert "Restore" in staff_client.get(f"{url}/restore/").content.decode()
    page = staff_client.post(f"{url}/restore/", {"post": "yes"}, follow=True)
    assert page.redirect_chain == [(f"{url}/change/", 302)]
    row.refresh_from_db()
    assert row.deleted_at is None
    assert staff_client.get(f"{url}/restore/").status_code == 403

    entries = LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")
    assert [describe(entry).summary for entry in entries] == ["Deleted.", "Restored."]
    assert {describe(entry).ip for entry in entries} == {"127.0.0.1"}
    assert {describe(entry).via for entry in entries} == {"admin"}


def test_actions_delete_and_restore_rows_after_confirming(staff_client, place):
    rows = [MAKERS[place]()]
    model = type(rows[0])
    data = {"action": "delete_selected", "_selected_action": [row.pk for row in rows]}
    page = staff_client.post(f"/admin/{place}/", data)
    assert page.status_code == 200
    assert model.objects.live().filter(pk=rows[0].pk).exists()
    staff_client.post(f"/admin/{place}/", data | {"post": "yes"})
    assert model.objects.deleted().filter(pk=rows[0].pk).exists()
    page = staff_client.post(f"/admin/{place}/", data | {"post": "yes"}, follow=True)
    assert "There is nothing to change." in page.content.decode()
    restore = data | {"action": "restore_selected"}
    assert staff_client.post(f"/admin/{place}/?state=deleted", restore).status_code == 200
    staff_client.post(f"/admin/{place}/?state=deleted", restore | {"post": "yes"})
    assert model.objects.live().filter(pk=rows[0].pk).exists()


def test_an_action_on_all_rows_respects_the_filter(staff_client):
    for number in range(3):
        Tier.objects.create(name=f"old {number}")
    Tier.objects.create(name="new")
    data = {
        "action": "delete_selected",
        "select_across": "1",
        "_selected_action": [Tier.objects.first().pk],
        "post": "yes",
    }
    staff_client.post("/admin/tiers/tier/?q=old", data)
    assert {tier.name for tier in Tier.objects.live()} == {"free", "new"}


def test_the_confirmation_page_lists_the_first_rows_and_counts_the_rest(staff_client):
    tiers = [Tier.objects.create(name=f"tier {number:02}") for number in range(25)]
    data = {"action": "delete_selected", "_selected_action": [tier.pk for tier in tiers]}
    page = staff_client.post("/admin/tiers/tier/", data).content.decode()
    assert "Delete 25 tiers?" in page
    assert "tier 19</a>" in page
    assert "tier 20</a>" not in page
    assert "and 5 others" in page
    assert page.count('name="_selected_action"') == 25


def test_a_changed_selection_is_confirmed_again(staff_client):
    tiers = [Tier.objects.create(name=f"old {number}") for number in range(3)]
    data = {"action": "delete_selected", "select_across": "1", "_selected_action": [tiers[0].pk]}
    page = staff_client.post("/admin/tiers/tier/?q=old", data).content.decode()
    confirmation = fields_of(page, "expected")
    del confirmation["csrfmiddlewaretoken"]
    assert confirmation == {
        "action": ["delete_selected"],
        "select_across": ["1"],
        "_selected_action": [str(tiers[0].pk)],
        "expected": ["3"],
    }
    Tier.objects.create(name="old 4")
    page = staff_client.post("/admin/tiers/tier/?q=old", confirmation).content.decode()
    assert "The selection has changed since you confirmed." in page
    assert Tier.objects.live().filter(name__startswith="old").count() == 4
    staff_client.post("/admin/tiers/tier/?q=old", fields_of(page, "expected"))
    assert not Tier.objects.live().filter(name__startswith="old").exists()


def test_too_many_rows_at_once_are_rejected(staff_client, monkeypatch):
    monkeypatch.setattr(Action, "max_at_once", 2)
    tiers = [Tier.objects.create(name=name) for name in "abc"]
    data = {"action": "delete_selected", "_selected_action": [tier.pk for tier in tiers], "post": "yes"}
    page = staff_client.post("/admin/tiers/tier/", data, follow=True)
    assert messages(page) == ["Select at most 2 tiers at once. Narrow the list with filters."]
    assert Tier.objects.live().filter(name__in="abc").count() == 3


def test_deleting_a_user_shows_how_many_keys_will_stop_working(staff_client, alice):
    make_key(alice, "one")
    make_key(alice, "two", expires_at=timezone.now() + timedelta(days=1))
    make_key(alice, "expired", expires_at=timezone.now() - timedelta(days=1))
    make_key(alice, "off", is_active=False)
    make_key(alice, "revoked", revoked_at=timezone.now())
    make_key(alice, "gone").delete()
    page = staff_client.get(f"/admin/accounts/user/{alice.pk}/delete/").content.decode()
    assert "2 API keys will stop working on the next request." in page
    assert "cascade" not in page
    staff_client.post(f"/admin/accounts/user/{alice.pk}/delete/", {"post": "yes"})
    assert APIKey.objects.live().count() == 5
    page = staff_client.get(f"/admin/accounts/user/{alice.pk}/restore/").content.decode()
    assert "2 API keys will work again." in page


def test_deleting_keys_shows_how_many_are_active(staff_client, alice):
    keys = [make_key(alice, "one"), make_key(alice, "off", is_active=False)]
    data = {"action": "delete_selected", "_selected_action": [key.pk for key in keys]}
    assert (
        "1 active key will stop working immediately."
        in staff_client.post("/admin/apikeys/apikey/", data).content.decode()
    )
    page = staff_client.get(f"/admin/apikeys/apikey/{keys[1].pk}/delete/").content.decode()
    assert "0 active keys" in page


def test_restoring_a_user_with_a_taken_username_is_an_error(staff_client, alice):
    alice.delete()
    User.objects.create_user("alice", "new@example.com", name="New")
    page = staff_client.post(f"/admin/accounts/user/{alice.pk}/restore/", {"post": "yes"})
    assert page.status_code == 200
    assert "can&#x27;t be restored because the user “alice” has the same username" in page.content.decode()
    data = {"action": "restore_selected", "_selected_action": [alice.pk], "post": "yes"}
    page = staff_client.post("/admin/accounts/user/?state=deleted", data, follow=True)
    assert "can't be restored" in messages(page)[0]
    alice.refresh_from_db()
    assert alice.deleted_at is not None


def test_saving_a_user_unchanged_keeps_a_deleted_tier(staff_client, alice, free):
    pro = Tier.objects.create(name="pro")
    User.objects.filter(pk=alice.pk).update(tier=pro)
    Tier.objects.filter(pk=pro.pk).update(deleted_at=timezone.now())
    url = f"/admin/accounts/user/{alice.pk}/change/"
    page = staff_client.get(url)
    assert "pro (deleted)" in page.content.decode()
    data = {name: value for name, value in page.context["adminform"].form.initial.items() if value is not None}
    response = staff_client.post(url, data | {"groups": [], "user_permissions": []})
    assert response.status_code == 302
    alice.refresh_from_db()
    assert alice.tier == pro


def test_a_deleted_tier_cannot_be_assigned(staff_client, alice):
    gone = Tier.objects.create(name="gone")
    gone.delete()
    data = {"name": "Alice", "username": "alice", "email": "alice@example.com", "tier": gone.pk, "is_active": "on"}
    page = staff_client.post(f"/admin/accounts/user/{alice.pk}/change/", data)
    assert "tier" in page.context["adminform"].form.errors


def test_a_deleted_row_cannot_be_edited(staff_client):
    tier = Tier.objects.create(name="gone")
    tier.delete()
    assert staff_client.post(f"/admin/tiers/tier/{tier.pk}/change/", {"name": "alive"}).status_code == 403
    tier.refresh_from_db()
    assert tier.name == "gone"


@pytest.mark.parametrize("verb", ["delete", "restore"])
def test_unknown_rows_are_not_found(staff_client, place, verb):
    for pk in ("0", "-1", "10" * 30, "nonsense", "00000000-0000-0000-0000-000000000000"):
        assert staff_client.get(f"/admin/{place}/{pk}/{verb}/").status_code == 404


def test_deleting_and_restoring_require_the_delete_permission(client):
    tier = Tier.objects.create(name="x")
    client.force_login(make_staff("vera", "tiers.view_tier"))
    page = client.get("/admin/tiers/tier/")
    assert "delete_selected" not in page.content.decode()
    assert "restore_selected" not in page.content.decode()
    client.force_login(make_staff("charles", "tiers.view_tier", "tiers.change_tier"))
    for verb in ("delete", "restore"):
        assert client.post(f"/admin/tiers/tier/{tier.pk}/{verb}/", {"post": "yes"}).status_code == 403
    client.force_login(make_staff("dora", "tiers.view_tier", "tiers.delete_tier"))
    for verb in ("delete", "restore"):
        assert client.post(f"/admin/tiers/tier/{tier.pk}/{verb}/", {"post": "yes"}).status_code == 302


def test_the_page_says_when_a_rate_limit_change_takes_effect(staff_client, free):
    limit = make_limit(free)
    assert "within 5 seconds" in staff_client.get(f"/admin/ratelimits/ratelimit/{limit.pk}/delete/").content.decode()
    limit.delete()
    page = staff_client.get(f"/admin/ratelimits/ratelimit/{limit.pk}/restore/").content.decode()
    assert "takes effect again within 5 seconds" in page
    assert RateLimit.objects.deleted().get() == limit
