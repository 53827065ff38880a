"""Deleting tiers in the admin, which can move the tier's users and delete its rate limits, and the tier page."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError

from accounts.models import User
from config.base.history import Author, describe
from ratelimits.models import RateLimit
from tests.conftest import make_user
from tests.rows import make_limit, make_staff
from tiers.models import Tier, TierInUse
from tiers.services import delete_tier, move_users

pytestmark = pytest.mark.django_db


@pytest.fixture
def tier_in_use(pro):
    make_user("petra", tier=pro)
    make_user("paul", tier=pro)
    make_user("gone", tier=pro).delete()
    make_limit(pro, name="pro orders")
    return pro


def delete_page(client, tier, **data):
    url = f"/admin/tiers/tier/{tier.pk}/delete/"
    return client.post(url, {"post": "yes", **data}, follow=True) if data else client.get(url)


def test_the_page_shows_users_and_limits_and_offers_to_move_them(staff_client, tier_in_use):
    page = delete_page(staff_client, tier_in_use).content.decode()
    assert "2 users" in page
    assert "petra" in page
    assert "1 rate limit" in page
    assert "pro orders" in page
    assert "Move 2 users to" in page
    assert "Delete 1 rate limit of this tier" in page


def test_an_empty_form_is_an_error(staff_client, tier_in_use):
    page = delete_page(staff_client, tier_in_use, nothing="")
    assert page.status_code == 200
    assert "This field is required." in page.content.decode()
    tier_in_use.refresh_from_db()
    assert tier_in_use.deleted_at is None


def test_users_are_moved_and_limits_deleted_with_the_tier(staff_client, tier_in_use, free):
    page = delete_page(staff_client, tier_in_use, move_users_to=free.pk, delete_limits="on")
    assert page.redirect_chain
    tier_in_use.refresh_from_db()
    assert tier_in_use.is_deleted
    assert {user.tier for user in User.objects.live()} == {free}
    assert not RateLimit.objects.live().exists()
    assert User.objects.get(username="gone").tier == tier_in_use  # a deleted user keeps their tier
    summaries = {entry.object_repr: describe(entry) for entry in LogEntry.objects.all()}
    assert summaries["pro"].summary == "Deleted. 2 users moved to “free”."
    assert summaries["petra"].values == [{"field": "tier", "old": "pro", "new": "free"}]
    assert summaries["pro orders"].summary == "Deleted with its tier."


def test_users_cannot_be_moved_to_the_same_or_a_deleted_tier(staff_client, tier_in_use):
    gone = Tier.objects.create(name="gone")
    gone.delete()
    for bad in (tier_in_use.pk, gone.pk, 0, -1, 10**30, "x"):
        page = delete_page(staff_client, tier_in_use, move_users_to=bad, delete_limits="on")
        assert "Select a valid choice" in page.content.decode()
    assert User.objects.live().filter(tier=tier_in_use).count() == 2
    assert RateLimit.objects.live().exists()


def test_an_unused_tier_is_deleted_without_options(staff_client, pro):
    page = delete_page(staff_client, pro).content.decode()
    assert "Move" not in page
    delete_page(staff_client, pro, sure="yes")
    pro.refresh_from_db()
    assert pro.is_deleted


def test_moving_users_and_deleting_limits_require_permission(client, tier_in_use, free):
    client.force_login(make_staff("tina", "tiers.delete_tier", "tiers.view_tier", "ratelimits.delete_ratelimit"))
    page = delete_page(client, tier_in_use, move_users_to=free.pk, delete_limits="on")
    assert "have permission to change users" in page.content.decode()
    client.force_login(make_staff("tom", "tiers.delete_tier", "tiers.view_tier", "accounts.change_user"))
    page = delete_page(client, tier_in_use, move_users_to=free.pk, delete_limits="on")
    assert "have permission to delete rate limits" in page.content.decode()
    tier_in_use.refresh_from_db()
    assert not tier_in_use.is_deleted
    assert RateLimit.objects.live().exists()


def test_tiers_in_use_stop_a_bulk_deletion(staff_client, tier_in_use):
    idle = Tier.objects.create(name="idle")
    data = {"action": "delete_selected", "_selected_action": [tier_in_use.pk, idle.pk]}
    page = staff_client.post("/admin/tiers/tier/", data).content.decode()
    assert "In use: “pro” (2 users, 1 rate limit)" in page
    assert '<button type="submit" class="button button-danger">' not in page
    page = staff_client.post("/admin/tiers/tier/", data | {"post": "yes"}, follow=True).content.decode()
    assert "The tier “pro” can&#x27;t be deleted" in page
    assert set(Tier.objects.live().values_list("name", flat=True)) == {"free", "idle", "pro"}


def test_one_selected_tier_in_use_cannot_be_deleted(staff_client, tier_in_use):
    data = {"action": "delete_selected", "_selected_action": [tier_in_use.pk]}
    assert staff_client.post("/admin/tiers/tier/", data).status_code == 200
    page = staff_client.post("/admin/tiers/tier/", data | {"post": "yes"}, follow=True).content.decode()
    assert "The tier “pro” can&#x27;t be deleted" in page


def test_restoring_a_tier(staff_client, pro):
    pro.delete()
    page = staff_client.get(f"/admin/tiers/tier/{pro.pk}/restore/").content.decode()
    assert "You can assign the tier to users again" in page
    staff_client.post(f"/admin/tiers/tier/{pro.pk}/restore/", {"post": "yes"})
    pro.refresh_from_db()
    assert not pro.is_deleted


def test_delete_tier_is_all_or_nothing(tier_in_use, free, sue):
    with pytest.raises(TierInUse):
        delete_tier(tier_in_use, Author(sue), move_users_to=free)  # the limit is still there
    assert User.objects.live().filter(tier=tier_in_use).count() == 2
    assert not LogEntry.objects.exists()


def test_move_users_rejects_the_same_or_a_deleted_tier(tier_in_use, free, sue):
    Tier.objects.filter(pk=free.pk).update(deleted_at="2026-01-01T00:00Z")
    for target in (tier_in_use, free):
        with pytest.raises(ValidationError, match="Choose another tier"):
            move_users(tier_in_use, target, Author(sue))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "This field is required."),
        ("x" * 51, "at most 50 characters"),
        ("x" * 10**6, "at most 50"),
        ("a\0b", "Null"),
    ],
)
def test_invalid_names_are_form_errors(staff_client, name, expected):
    page = staff_client.post("/admin/tiers/tier/add/", {"name": name, "description": ""})
    assert expected in str(page.context["adminform"].form.errors["name"])


def test_the_tier_page_shows_limits_in_words(staff_client, free):
    RateLimit.objects.create(tier=free, path="/orders/*", method="GET", limit=100, period=60, name="orders")
    RateLimit.objects.create(tier=free, path="/try", limit=5, period=86_400, window="fixed", mode="observe", name="try")
    page = staff_client.get(f"/admin/tiers/tier/{free.pk}/change/").content.decode()
    assert "GET /orders/*" in page
    assert "100 per minute" in page
    assert "observe only" in page
    assert "2 rate limits" in page


def test_the_tier_page_without_limits_mentions_the_default(staff_client, free):
    page = staff_client.get(f"/admin/tiers/tier/{free.pk}/change/").content.decode()
    assert "The default rate limit applies" in page


def test_limits_on_the_tier_page_require_permission(client, pro):
    make_limit(pro, path="/hidden")
    for permissions, shown in ((["tiers.view_tier"], False), (["tiers.view_tier", "ratelimits.view_ratelimit"], True)):
        client.force_login(make_staff(f"vera{len(permissions)}", *permissions))
        assert ("/hidden" in client.get(f"/admin/tiers/tier/{pro.pk}/change/").content.decode()) is shown
