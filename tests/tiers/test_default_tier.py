"""The default tier can't be deleted or renamed, and restored and new users are on a live tier."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from accounts.models import User
from config.base import models as base_models
from config.base.history import Author
from tests.accounts.people import history, messages, signed_in
from tests.conftest import make_user
from tests.rows import make_limit, make_staff
from tiers.models import Tier
from tiers.services import delete_tier

pytestmark = pytest.mark.django_db
# Escaped as in HTML.
WHY = "New users get the tier “free”, so it can&#x27;t be {}. Set DEFAULT_TIER_NAME to another tier and restart Gatehouse first."
DELETE, RENAME = WHY.format("deleted"), WHY.format("renamed")
SIGN_UP = {"name": "Dora", "username": "dora", "email": "dora@example.com", "password1": "correct horse 1"}


def delete_page(client, tier, **data):
    return client.post(f"/admin/tiers/tier/{tier.pk}/delete/", {"post": "yes"} | data, follow=True)


def delete_in_bulk(client, *tiers):
    data = {"action": "delete_selected", "_selected_action": [tier.pk for tier in tiers], "post": "yes"}
    return client.post("/admin/tiers/tier/", data, follow=True)


@pytest.fixture
def default_tier(staff_client, free):
    """The default tier, without users and rate limits."""
    User.objects.update(tier=None)
    return free


def test_the_delete_page_explains_why_it_cannot_be_deleted(staff_client, default_tier):
    page = staff_client.get(f"/admin/tiers/tier/{default_tier.pk}/delete/").content.decode()
    assert DELETE in page
    assert DELETE in delete_page(staff_client, default_tier).content.decode()
    assert Tier.objects.default() == default_tier


def test_it_cannot_be_deleted_in_bulk_or_by_moving_its_users(staff_client, default_tier, pro):
    make_user("nina", tier=default_tier)
    assert DELETE in delete_page(staff_client, default_tier, move_users_to=pro.pk).content.decode()
    User.objects.update(tier=None)
    assert DELETE in delete_in_bulk(staff_client, default_tier, pro).content.decode()
    assert Tier.objects.live().count() == 2


def test_the_service_rejects_it(default_tier, sue):
    with pytest.raises(ValidationError, match="New users get"):
        delete_tier(default_tier, Author(sue))
    assert Tier.objects.default() == default_tier


def test_other_tiers_and_the_previous_default_can_be_deleted(staff_client, default_tier, pro, settings):
    assert "Tier “pro” deleted." in messages(delete_page(staff_client, pro))[0]
    settings.DEFAULT_TIER_NAME = "plus"
    assert "Tier “free” deleted." in messages(delete_page(staff_client, default_tier))[0]


def test_it_cannot_be_renamed_but_its_description_can_be_changed(staff_client, free, settings):
    url = f"/admin/tiers/tier/{free.pk}/change/"
    assert RENAME in staff_client.post(url, {"name": "basic", "description": ""}).content.decode()
    assert staff_client.post(url, {"name": "free", "description": "For all."}).status_code == 302
    free.refresh_from_db()
    assert (free.name, free.description) == ("free", "For all.")
    settings.DEFAULT_TIER_NAME = "basic"
    assert staff_client.post(url, {"name": "basic", "description": ""}).status_code == 302


@pytest.mark.parametrize("name", ["FREE", "free ", "f‍ree", ""])
def test_similar_names_are_other_names(staff_client, free, name):
    staff_client.post(f"/admin/tiers/tier/{free.pk}/change/", {"name": name, "description": ""})
    assert Tier.objects.default() == free


def test_staff_without_permission_are_denied(free):
    client = signed_in(make_staff("steve", "view_user"))
    assert client.post(f"/admin/tiers/tier/{free.pk}/delete/", {"post": "yes"}).status_code == 403
    with_permission = signed_in(make_staff("tina", "tiers.delete_tier", "tiers.view_tier", tier=None))
    assert DELETE in delete_page(with_permission, free).content.decode()


def test_a_restored_user_moves_to_the_default_tier_if_theirs_is_deleted(staff_client, free, pro):
    nina = make_user("nina", tier=pro)
    nina.delete()
    pro.delete()
    staff_client.post(f"/users/{nina.pk}/restore/")
    nina.refresh_from_db()
    assert (nina.deleted_at, nina.tier) == (None, free)
    assert history(nina)[0].values == [{"field": "tier", "old": "pro", "new": "free"}]


@pytest.mark.parametrize("default", ["free", "nowhere"])
def test_restoring_in_the_admin_and_without_a_default_tier(staff_client, free, pro, settings, default):
    settings.DEFAULT_TIER_NAME = default
    nina = make_user("nina", tier=pro)
    nina.delete()
    pro.delete()
    page = staff_client.get(f"/admin/accounts/user/{nina.pk}/restore/").content.decode()
    assert "Users whose tier has been deleted move to the default tier." in page
    staff_client.post(f"/admin/accounts/user/{nina.pk}/restore/", {"post": "yes"})
    nina.refresh_from_db()
    assert (nina.deleted_at, nina.tier) == (None, free if default == "free" else None)


def test_a_restored_user_stays_on_a_live_tier(staff_client, free, pro):
    nina = make_user("nina", tier=pro)
    nina.delete()
    staff_client.post(f"/users/{nina.pk}/restore/")
    nina.refresh_from_db()
    assert nina.tier == pro
    assert history(nina)[0].values == []


def test_signing_up_while_the_default_tier_is_deleted_uses_the_new_default(client, free, settings, monkeypatch):
    basic = Tier.objects.create(name="basic")

    def raise_once(tier):
        """Another process with another default tier deleted it first."""
        monkeypatch.setattr(base_models, "lock_live", lock_live)
        settings.DEFAULT_TIER_NAME = "basic"
        raise base_models.ConcurrentDeletion("gone")

    lock_live = base_models.lock_live
    monkeypatch.setattr(base_models, "lock_live", raise_once)
    assert client.post("/accounts/signup/", SIGN_UP).status_code == 302
    assert User.objects.get(username="dora").tier == basic


def test_users_of_bootstrap_and_demo_are_on_live_tiers(small_demo):
    call_command("bootstrap")
    call_command("demo")
    assert not User.objects.live().exclude(tier__deleted_at=None).filter(tier__isnull=False).exists()
    assert User.objects.filter(is_superuser=True).get().tier.name == "free"


def test_a_tier_with_rate_limits_cannot_be_deleted(staff_client, free, pro):
    make_limit(pro)
    assert "Part of this tier:" in delete_page(staff_client, pro).content.decode()
    pro.refresh_from_db()
    assert pro.deleted_at is None
