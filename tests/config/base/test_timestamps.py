"""created_at is set by the database, updated_at by every write, and IDs sort by time."""

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


def test_a_new_row_has_both_timestamps():
    tier = Tier.objects.create(name="x")
    tier.refresh_from_db()
    for moment in (tier.created_at, tier.updated_at):
        assert timezone.now() - moment < timedelta(minutes=1)
        assert moment.tzinfo is UTC


def test_an_explicit_updated_at_is_kept(old):
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
def test_every_write_changes_updated_at_but_not_created_at(old, write):
    created = old.created_at
    write(old)
    row = Tier.objects.get(pk=old.pk)
    assert row.updated_at > LONG_AGO
    assert row.created_at == created


def test_an_upsert_changes_updated_at(old):
    Tier.objects.bulk_create(
        [Tier(pk=old.pk, name="old", description="new")],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["description"],
    )
    row = Tier.objects.get(pk=old.pk)
    assert row.description == "new"
    assert row.updated_at > LONG_AGO


def test_restoring_changes_updated_at(old):
    old.delete()
    Tier.objects.filter(pk=old.pk).update(updated_at=LONG_AGO)
    old.restore()
    assert Tier.objects.get(pk=old.pk).updated_at > LONG_AGO


def test_uuids_are_version_7_and_sort_by_time():
    ids = [uuid7(LONG_AGO + timedelta(milliseconds=n)) for n in range(50)]
    assert ids == sorted(ids)
    assert {each.version for each in [*ids, uuid7()]} == {7}
    assert len({uuid7() for _ in range(1000)}) == 1000


def test_consecutive_uuids_are_sorted():
    uuids = [uuid7() for _ in range(200)]
    assert uuids == sorted(uuids)
