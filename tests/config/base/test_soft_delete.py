"""Soft delete: delete() marks a row, restore() unmarks it, hard_delete() removes it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.forms import modelform_factory

from accounts.models import User
from apikeys.models import APIKey
from config.base.forms import lock_if_live
from ratelimits.models import RateLimit
from tests.conftest import make_user
from tests.rows import make_key
from tiers.models import Tier, TierInUse

pytestmark = pytest.mark.django_db


def test_deleting_an_object_marks_its_row():
    tier = Tier.objects.create(name="gone")
    assert tier.delete() == (1, {"tiers.Tier": 1})
    assert tier.deleted_at is not None
    row = Tier.objects.get(pk=tier.pk)
    assert row.is_deleted
    assert row.deleted_at == tier.deleted_at


def test_deleting_a_queryset_marks_its_live_rows_in_one_query(django_assert_num_queries):
    for name in "abc":
        RateLimit.objects.create(tier=Tier.objects.get_or_create(name="t")[0], path=f"/{name}", limit=1)
    RateLimit.objects.get(path="/a").delete()
    with django_assert_num_queries(1):
        assert RateLimit.objects.all().delete() == (2, {"ratelimits.RateLimit": 2})
    assert RateLimit.objects.deleted().count() == 3


def test_deleting_twice_keeps_the_first_time_and_reports_nothing():
    tier = Tier.objects.create(name="gone")
    tier.delete()
    first = tier.deleted_at
    assert tier.delete() == (0, {})
    assert tier.deleted_at == first
    assert Tier.objects.filter(pk=tier.pk).delete() == (0, {})


def test_live_deleted_and_unfiltered_querysets():
    live, gone = Tier.objects.create(name="live"), Tier.objects.create(name="gone")
    gone.delete()
    assert list(Tier.objects.live()) == [live]
    assert list(Tier.objects.deleted()) == [gone]
    assert Tier.objects.count() == 2
    assert Tier._base_manager.count() == 2


def test_a_deleted_row_can_be_refreshed_and_saved():
    tier = Tier.objects.create(name="gone")
    tier.delete()
    tier.refresh_from_db()
    tier.description = "still one row"
    tier.save()
    assert Tier.objects.filter(name="gone").count() == 1


def test_saving_a_stale_instance_does_not_restore_the_row():
    tier = Tier.objects.create(name="gone")
    stale = Tier.objects.get(pk=tier.pk)
    tier.delete()
    stale.description = "written later"
    stale.save()
    tier.refresh_from_db()
    assert tier.deleted_at is not None
    assert tier.description == "written later"


def test_saving_a_stale_instance_does_not_delete_a_restored_row():
    tier = Tier.objects.create(name="back")
    tier.delete()
    stale = Tier.objects.get(pk=tier.pk)
    tier.restore()
    stale.save()
    assert Tier.objects.get(pk=tier.pk).deleted_at is None


def test_deleted_at_is_saved_when_named_in_update_fields():
    tier = Tier.objects.create(name="x")
    tier.deleted_at = datetime(2026, 1, 1, tzinfo=UTC)
    tier.save(update_fields=["deleted_at"])
    assert Tier.objects.get(pk=tier.pk).is_deleted


def test_a_deferred_instance_saves_only_loaded_fields():
    tier = Tier.objects.create(name="x", description="kept")
    lazy = Tier.objects.only("name").get(pk=tier.pk)
    Tier.objects.filter(pk=tier.pk).update(description="changed by another")
    lazy.name = "y"
    lazy.save()
    tier.refresh_from_db()
    assert (tier.name, tier.description) == ("y", "changed by another")


def test_the_database_computes_is_deleted():
    tier = Tier.objects.create(name="x")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tiers SET deleted_at = CURRENT_TIMESTAMP WHERE id = %s", [tier.pk])
    assert Tier.objects.filter(is_deleted=True).get() == tier


def test_a_name_can_be_used_again_after_its_row_is_deleted():
    Tier.objects.create(name="pro").delete()
    assert Tier.objects.create(name="pro").pk
    with pytest.raises(IntegrityError), transaction.atomic():
        Tier.objects.create(name="pro")


def test_restoring_a_row():
    tier = Tier.objects.create(name="pro")
    tier.delete()
    tier.restore()
    assert (tier.deleted_at, tier.is_deleted) == (None, False)
    assert tier in Tier.objects.live()
    tier.restore()
    assert tier in Tier.objects.live()


def test_restoring_under_a_taken_name_names_the_conflicting_row():
    first = Tier.objects.create(name="pro")
    first.delete()
    Tier.objects.create(name="pro")
    with pytest.raises(ValidationError, match="the tier “pro” has the same name"):
        first.restore()
    first.refresh_from_db()
    assert first.is_deleted


def test_restoring_a_rate_limit_with_a_live_duplicate_is_an_error(free):
    first = RateLimit.objects.create(tier=free, path="/a", limit=1, name="one")
    first.delete()
    RateLimit.objects.create(tier=free, path="/a", limit=2, name="two")
    with pytest.raises(ValidationError, match="two"):
        first.restore()


def test_restoring_a_queryset_is_all_or_nothing():
    pair = [Tier.objects.create(name=name) for name in ("a", "b")]
    Tier.objects.all().delete()
    Tier.objects.create(name="b")
    with pytest.raises(ValidationError):
        Tier.objects.filter(pk__in=[tier.pk for tier in pair]).restore()
    assert set(Tier.objects.deleted()) == set(pair)
    Tier.objects.live().delete()
    assert Tier.objects.filter(pk__in=[tier.pk for tier in pair]).restore() == 2


def test_two_deleted_rows_with_one_name_cannot_both_be_restored():
    for _ in range(2):
        Tier.objects.create(name="pro").delete()
    with pytest.raises(ValidationError):
        Tier.objects.all().restore()
    assert not Tier.objects.live().exists()


def test_restoring_a_purged_row_is_an_error():
    tier = Tier.objects.create(name="gone")
    tier.delete()
    Tier.objects.get(pk=tier.pk).hard_delete()
    with pytest.raises(ValidationError, match="Tier “gone” no longer exists"):
        tier.restore()


def test_validation_rejects_a_newly_chosen_deleted_tier(alice):
    pro = Tier.objects.create(name="pro")
    pro.delete()
    alice.tier = pro
    with pytest.raises(ValidationError) as error:
        alice.full_clean()
    assert error.value.message_dict == {"tier": ["The tier “pro” is deleted. Choose another tier."]}
    alice.full_clean(exclude=["tier"])
    with pytest.raises(ValidationError, match="is deleted"):
        RateLimit(tier=pro, path="/orders", limit=1).full_clean()
    User.objects.get(pk=alice.pk).full_clean()
    Tier.objects.filter(name="free").update(deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
    User.objects.get(pk=alice.pk).full_clean()


def test_a_deleted_tier_is_reported_with_the_other_invalid_fields(alice):
    alice.tier = Tier.objects.create(name="pro")
    alice.tier.delete()
    alice.billing_day = 40
    with pytest.raises(ValidationError) as error:
        alice.full_clean()
    assert set(error.value.message_dict) >= {"tier", "billing_day"}


def test_users_without_a_provider_id_do_not_conflict():
    anna, otto = make_user("anna"), make_user("otto")
    anna.delete()
    anna.restore()
    assert {anna, otto} <= set(User.objects.live())


def test_hard_delete_cascades(alice):
    make_key(alice)
    alice.hard_delete()
    assert not APIKey.objects.exists()
    Tier.objects.create(name="x")
    count, by_model = Tier.objects.filter(name="x").hard_delete()
    assert (count, by_model) == (2, {"tiers.Tier": 1, "tiers.TierAccess": 1})


def test_soft_delete_does_not_cascade_but_hides_keys_of_deleted_users(alice):
    key, deleted_key = make_key(alice), make_key(alice, "deleted before")
    deleted_key.delete()
    alice.delete()
    assert list(APIKey.objects.live()) == [key]
    assert not APIKey.objects.effective().exists()
    alice.restore()
    assert list(APIKey.objects.effective()) == [key]


def test_keys_of_a_suspended_user_are_not_effective(alice):
    make_key(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert not APIKey.objects.effective().exists()


def test_limits_of_a_deleted_tier_are_not_effective_until_it_is_restored(free):
    limit = RateLimit.objects.create(tier=free, path="/a", limit=1)
    Tier.objects.filter(pk=free.pk).update(deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert not RateLimit.objects.effective().exists()
    free.restore()
    assert list(RateLimit.objects.effective()) == [limit]


def test_dumpdata_includes_deleted_rows():
    Tier.objects.create(name="gone").delete()
    dumped = serializers.serialize("json", Tier._default_manager.all())
    assert "gone" in dumped


@pytest.mark.parametrize("method", ["delete", "hard_delete", "restore"])
def test_managers_have_no_methods_that_change_a_whole_table(method):
    assert not hasattr(Tier.objects, method)
    assert getattr(Tier.objects.all(), method).alters_data


@pytest.mark.parametrize("fields", [["name"], ["name", "description"]])
def test_a_live_duplicate_is_a_field_error(fields):
    Tier.objects.create(name="pro")
    form = modelform_factory(Tier, fields=fields)({"name": "pro"})
    assert form.errors == {"name": ["Another tier has this name. Choose a different name."]}


def test_a_form_accepts_the_name_of_a_deleted_row():
    Tier.objects.create(name="pro").delete()
    form = modelform_factory(Tier, fields=["name"])({"name": "pro"})
    assert form.is_valid()


def test_a_form_for_a_deleted_row_accepts_a_taken_name():
    gone = Tier.objects.create(name="pro")
    gone.delete()
    Tier.objects.create(name="pro")
    form = modelform_factory(Tier, fields=["name", "description"])({"name": "pro", "description": "x"}, instance=gone)
    assert form.is_valid()


def test_deleting_a_user_ends_sessions_permanently(alice, client):
    client.force_login(alice)
    cookie = client.cookies["session"].value
    alice.delete()
    alice.restore()
    client.cookies["session"] = cookie
    assert client.get("/admin/").status_code == 302
    assert alice.session_epoch == 1


def test_a_tier_in_use_cannot_be_deleted(free, alice):
    for delete in (free.delete, Tier.objects.all().delete, free.hard_delete, Tier.objects.all().hard_delete):
        with pytest.raises(TierInUse, match="1 user and 0 rate limits"):
            delete()
    alice.delete()
    assert free.delete()[0] == 1


def test_live_or_current_includes_a_deleted_current_row():
    live, gone, other = (Tier.objects.create(name=name) for name in ("live", "gone", "other"))
    gone.delete()
    other.delete()
    assert set(Tier.objects.live_or_current(gone.pk)) == {live, gone}
    assert set(Tier.objects.live_or_current(None)) == {live}


@pytest.mark.django_db(transaction=True)
def test_lock_if_live_works_outside_a_transaction():
    tier = Tier.objects.create(name="pro")
    assert lock_if_live(tier)
    Tier.objects.filter(pk=tier.pk).delete()
    assert not lock_if_live(tier)
