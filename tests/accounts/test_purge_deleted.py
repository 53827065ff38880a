"""manage.py purge_deleted removes rows that were deleted long ago. Users who changed something are erased instead."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.erasure import purge as purge_user
from accounts.management.commands import purge_deleted
from accounts.models import User
from apikeys.models import APIKey, KeyUsage
from config.base.history import CHANGE, Author
from ratelimits.budgets import rule_key
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.stores import StoreUnavailable
from tests.accounts.people import history, make_event, make_key
from tests.conftest import make_user
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def purge(*args):
    out = io.StringIO()
    call_command("purge_deleted", *args, stdout=out)
    return out.getvalue()


def deleted_days_ago(row, days=100):
    """Mark `row` as deleted this many days ago. Return it."""
    type(row)._default_manager.filter(pk=row.pk).update(deleted_at=timezone.now() - timedelta(days=days))
    return row


def test_a_dry_run_counts_and_removes_nothing(alice):
    deleted_days_ago(alice)
    text = purge()
    assert "users: 1 would be removed" in text
    assert "Nothing was removed." in text
    assert User.objects.filter(pk=alice.pk).exists()


def test_only_rows_deleted_more_than_n_days_ago_are_removed(alice, bob, charlie):
    deleted_days_ago(alice, 40)
    deleted_days_ago(bob, 20)
    purge("--days", "30", "--yes")
    assert set(User.objects.all()) == {bob, charlie}


def test_keys_and_their_usage_are_removed_with_their_owner(alice, bob):
    make_event(make_key(alice))
    kept = make_event(make_key(bob))
    deleted_days_ago(alice)
    purge("--yes")
    assert list(KeyUsage.objects.all()) == [kept]
    assert APIKey.objects.count() == 1


def test_a_tier_with_users_is_kept(alice, free):
    old = Tier.objects.create(name="old")
    RateLimit.objects.create(tier=old, path="/x", limit=1, period=1)
    deleted_days_ago(old)
    deleted_days_ago(RateLimit.objects.get())
    deleted_days_ago(free)
    text = purge("--yes")
    assert not Tier.objects.filter(name="old").exists()
    assert Tier.objects.filter(name="free").exists()
    assert "tiers: 1 removed, 1 kept" in text


def test_a_user_who_changed_something_is_erased_but_kept(alice, bob):
    Author(alice).record(bob, CHANGE, note="Did something.")
    deleted_days_ago(alice)
    text = purge("--yes")
    assert "users: 0 removed, 1 kept" in text
    alice.refresh_from_db()
    assert alice.erased_at
    assert alice.username == f"erased_{alice.pk}"
    assert history(bob)[0].summary == "Did something."
    assert history(alice)[0].via == "manage.py purge_deleted"
    assert "users: 0 would be removed" in purge()


def test_the_history_of_a_removed_user_is_anonymized(alice, sue):
    Author(sue).record(alice, CHANGE, changes=[{"field": "name", "old": "Alice", "new": "Alicia"}])
    deleted_days_ago(alice)
    purge("--yes")
    entry = LogEntry.objects.get(object_id=str(alice.pk))
    assert entry.object_repr == f"erased_{alice.pk}"
    assert "Alic" not in entry.change_message


def test_an_interrupted_run_can_be_continued(free, monkeypatch):
    monkeypatch.setattr(purge_deleted, "BATCH", 2)
    for n in range(5):
        deleted_days_ago(make_user(f"user{n}"))
    real, seen = purge_deleted.purge_batch, []

    def interrupted(model, pks):
        if seen:
            raise KeyboardInterrupt
        seen.append(pks)
        return real(model, pks)

    monkeypatch.setattr(purge_deleted, "purge_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        purge("--yes")
    assert User.objects.count() == 3
    monkeypatch.setattr(purge_deleted, "purge_batch", real)
    text = purge("--yes")
    assert "users: 2 of 3" in text
    assert "users: 3 of 3" in text
    assert User.objects.count() == 0


def test_models_are_purged_in_dependency_order():
    order = [model.__name__ for model in purge_deleted.in_dependency_order()]
    assert order.index("APIKey") < order.index("User") < order.index("Tier")
    assert order.index("RateLimit") < order.index("Tier")


@pytest.mark.parametrize("days", ["-1", "99999999999"])
def test_days_out_of_range_are_rejected(db, days):
    with pytest.raises(CommandError, match="--days"):
        purge("--days", days, "--yes")


def prepaid(user, **fields):
    """A prepaid limit of this user, with one request used."""
    limit = RateLimit.objects.create(user=user, path="/*", limit=10, window="total", **fields)
    limiter().hit([limit.budget(f"user:{user.pk}")])
    return limit


def remaining(limit):
    return limiter().peek([limit.budget(f"user:{limit.user_id}")]).states[0].remaining


def test_counters_of_removed_prepaid_limits_are_reset(alice, bob):
    gone, kept, of_deleted_user = prepaid(alice), prepaid(alice, host="a.example"), prepaid(bob)
    deleted_days_ago(gone)
    deleted_days_ago(bob)
    assert [remaining(limit) for limit in (gone, kept, of_deleted_user)] == [9, 9, 9]
    purge("--yes")
    assert not RateLimit.objects.filter(pk__in=[gone.pk, of_deleted_user.pk]).exists()
    assert [remaining(limit) for limit in (gone, kept, of_deleted_user)] == [10, 9, 10]


def test_purging_works_while_the_store_is_unavailable(alice, monkeypatch):
    limit = deleted_days_ago(prepaid(alice))

    def fail(keys):
        assert keys == [rule_key(f"user:{alice.pk}", limit.pk)]
        raise StoreUnavailable("down")

    monkeypatch.setattr(limiter(), "reset", fail)
    purge("--yes")
    assert not RateLimit.objects.filter(pk=limit.pk).exists()


@pytest.mark.parametrize("kind", ["user", "tier", "limit", "key"])
def test_rows_restored_during_a_purge_are_kept(alice, pro, monkeypatch, kind):
    limit = RateLimit.objects.create(tier=pro, path="/orders", limit=1)
    row = deleted_days_ago({"user": alice, "tier": pro, "limit": limit, "key": make_key(alice)}[kind])
    rows_of = purge_deleted.totals_among

    def restore(*args):
        row.restore()
        return rows_of(*args)

    # The IDs have been read already, but not the rows.
    monkeypatch.setattr(purge_deleted, "totals_among", restore)
    assert "1 kept" in purge("--yes")
    assert not type(row)._default_manager.get(pk=row.pk).is_deleted


def test_rows_restored_after_they_were_read_are_kept(alice, pro):
    users, tiers = (
        list(User.objects.filter(pk=deleted_days_ago(alice).pk)),
        list(Tier.objects.filter(pk=deleted_days_ago(pro).pk)),
    )
    alice.restore()
    pro.restore()
    assert not purge_user(users[0])
    assert not purge_deleted.hard_delete(tiers[0])
    assert set(User.objects.live()) | set(Tier.objects.live()) >= {alice, pro}
