"""created_at is set by the database, and updated_at changes with every write, including bulk updates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from config.base.models import uuid7
from tiers.models import Tier

pytestmark = pytest.mark.django_db
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def old():
    tier = Tier.objects.create(name="old")
    Tier.objects.filter(pk=tier.pk).update(updated_at=LONG_AGO)
    tier.refresh_from_db()
    return tier


def test_a_new_row_has_both_times_now_and_in_utc():
    tier = Tier.objects.create(name="x")
    tier.refresh_from_db()
    for moment in (tier.created_at, tier.updated_at):
        assert timezone.now() - moment < timedelta(minutes=1)
        assert moment.tzinfo is UTC


def test_a_given_time_is_kept(old):
    assert old.updated_at == LONG_AGO


@pytest.mark.parametrize(
    "write",
    [
        lambda tier: tier.save(),
        lambda tier: tier.save(update_fields=["name"]),
        lambda tier: Tier.objects.filter(pk=tier.pk).update(name="z"),
        lambda tier: Tier.objects.bulk_update([tier], ["name"]),
        lambda tier: Tier.objects.update_or_create(pk=tier.pk, defaults={"name": "z"}),
        lambda tier: tier.delete(),
    ],
    ids=["save", "save some", "update", "bulk_update", "update_or_create", "delete"],
)
def test_every_write_moves_updated_at_and_leaves_created_at(old, write):
    created = old.created_at
    write(old)
    row = Tier.objects.get(pk=old.pk)
    assert row.updated_at > LONG_AGO
    assert row.created_at == created


def test_an_upsert_moves_updated_at(old):
    Tier.objects.bulk_create(
        [Tier(pk=old.pk, name="old", description="new")],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["description"],
    )
    row = Tier.objects.get(pk=old.pk)
    assert row.description == "new"
    assert row.updated_at > LONG_AGO


def test_restoring_moves_updated_at(old):
    old.delete()
    Tier.objects.filter(pk=old.pk).update(updated_at=LONG_AGO)
    old.restore()
    assert Tier.objects.get(pk=old.pk).updated_at > LONG_AGO


def test_ids_that_leave_the_house_sort_by_time_and_are_version_7():
    ids = [uuid7(LONG_AGO + timedelta(milliseconds=n)) for n in range(50)]
    assert ids == sorted(ids)
    assert {made.version for made in [*ids, uuid7()]} == {7}
    assert len({uuid7() for _ in range(1000)}) == 1000


def test_ids_made_one_after_the_other_sort_that_way():
    made = [uuid7() for _ in range(200)]
    assert made == sorted(made)
