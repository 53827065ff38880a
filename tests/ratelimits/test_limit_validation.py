"""Validation of rate limits of tiers and of single users."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey
from config.base.periods import MAX_PERIOD
from ratelimits.advice import COUNTED_METHODS
from ratelimits.budgets import WEEK
from ratelimits.models import MAX_AMOUNT, MAX_LIMIT, RateLimit
from ratelimits.services import copy_limits
from tests.conftest import make_user
from tests.rows import make_key, make_limit
from tiers.models import Tier

HOUR = dt.timedelta(hours=1)


def own_limit(user, path="/orders/*", **fields):
    return RateLimit(**{"user": user, "path": path, "limit": 10, **fields})


def errors_of(limit):
    with pytest.raises(ValidationError) as caught:
        limit.full_clean()
    return caught.value.message_dict


def test_limit_belongs_to_either_a_tier_or_a_user(alice, free):
    assert errors_of(RateLimit(path="/a", limit=1)) == {"tier": ["Choose a tier or a user."]}
    both = RateLimit(path="/a", limit=1, tier=free, user=alice)
    assert errors_of(both) == {"user": ["Choose a tier or a user, not both."]}
    for owners in ({}, {"tier": free, "user": alice}):
        with pytest.raises(IntegrityError), transaction.atomic():
            RateLimit.objects.create(path="/a", limit=1, **owners)


@pytest.mark.parametrize("field", ["window", "ends_at"])
def test_only_own_limits_can_end_or_be_totals(alice, free, field):
    value = {"window": "total", "ends_at": timezone.now() + HOUR}[field]
    own_limit(alice, **{field: value}).full_clean()
    limit = own_limit(None, tier=free, **{field: value})
    assert list(errors_of(limit)) == [field]
    with pytest.raises(IntegrityError), transaction.atomic():
        limit.save()


def test_end_must_be_in_the_future_when_set(alice):
    limit = own_limit(alice, ends_at=timezone.now() - HOUR)
    assert errors_of(limit) == {"ends_at": ["Enter a time in the future. To end this rate limit now, delete it."]}
    limit.save()
    limit.limit = 20
    limit.full_clean()  # a limit that has ended can be edited
    limit.ends_at -= HOUR
    assert "ends_at" in errors_of(limit)


def test_ended_limits_and_limits_of_deleted_users_are_not_effective(alice, bob):
    lasting, ended = own_limit(alice, "/a"), own_limit(alice, "/b", ends_at=timezone.now())
    of_deleted = own_limit(bob)
    for limit in (lasting, ended, of_deleted):
        limit.save()
    bob.delete()
    assert list(RateLimit.objects.effective()) == [lasting]


@pytest.mark.parametrize("unit", ["tokens", "microcents"])
def test_tokens_and_microcents_need_a_window_that_resets(alice, unit):
    assert list(errors_of(own_limit(alice, unit=unit, limit=MAX_AMOUNT))) == ["window"]
    for window in ("fixed", "week", "month", "total"):
        own_limit(alice, unit=unit, limit=MAX_AMOUNT, window=window).full_clean()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": MAX_LIMIT + 1}, "limit"),
        ({"limit": MAX_AMOUNT + 1, "unit": "tokens", "window": "month"}, "limit"),
        ({"limit": 2**63, "unit": "tokens", "window": "month"}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": None}, "limit"),
        ({"unit": "euros"}, "unit"),
        ({"window": "fortnight"}, "window"),
    ],
)
def test_unknown_choices_and_numbers_out_of_range_are_errors(alice, fields, field):
    assert field in errors_of(own_limit(alice, **fields))


def test_limits_of_an_owner_must_differ_in_host_path_window_or_unit(alice, bob, free):
    make_limit(free, "/orders/*", window="month")
    for limit in (
        own_limit(alice, window="month"),
        own_limit(bob, window="month"),
        own_limit(alice, window="month", host="api.example.com"),
        own_limit(alice, window="month", unit="tokens"),
        own_limit(alice, window="week"),
    ):
        limit.full_clean()
        limit.save()
    again = own_limit(alice, window="month", limit=99, period=7)
    assert "This user already has a rate limit with this host" in errors_of(again)["__all__"][0]
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save()
    same = own_limit(alice, "/orders/{id}", window="month")
    same.save()
    assert "this user already has" in errors_of(own_limit(alice, "/orders/{number}", window="month"))["path"][0]


def test_windows_with_a_fixed_period_store_it(alice):
    periods = {}
    for window in ("rolling", "week", "month", "total"):
        limit = own_limit(alice, window=window, period=30)
        limit.save()
        periods[window] = limit.period
    assert periods == {"rolling": 30, "week": WEEK, "month": MAX_PERIOD, "total": MAX_PERIOD}


def test_overall_limit_applies_beside_more_specific_limits(free):
    for method in COUNTED_METHODS:
        make_limit(free, "/orders", method=method)
    RateLimit(tier=free, path="/orders", limit=5, overall=True).full_clean()
    assert "path" in errors_of(RateLimit(tier=free, path="/orders", limit=5))


def test_copied_limits_keep_window_unit_and_host(free, pro):
    make_limit(free, "/*", window="month", unit="tokens", overall=True, host="api.example.com")
    author = type("Nobody", (), {"record": lambda self, *args, **options: None})()
    copied = copy_limits(free, pro, author).new[0]
    assert (copied.window, copied.unit, copied.overall, copied.host) == ("month", "tokens", True, "api.example.com")
    assert len(copy_limits(free, pro, author).skipped) == 1


@pytest.mark.parametrize("day", [0, 32, -1, 2**63])
def test_billing_day_must_be_1_to_31(alice, day):
    alice.billing_day = day
    with pytest.raises(ValidationError) as caught:
        alice.full_clean()
    assert caught.value.message_dict["billing_day"][0] == "Enter a day of the month, from 1 to 31."


def test_database_rejects_an_invalid_billing_day(alice):
    assert alice.billing_day == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=alice.pk).update(billing_day=32)


def test_key_limit_cannot_be_a_total(alice):
    key = make_key(alice, rate_limit=10, rate_period=60)
    assert key.rate_window == "rolling"
    for window, period in (("fixed", 60), ("week", WEEK), ("month", MAX_PERIOD)):
        key.rate_window = window
        key.full_clean()
        assert key.rate_period == period
    key.rate_window = "total"
    with pytest.raises(ValidationError) as caught:
        key.full_clean()
    assert "rate_window" in caught.value.message_dict
    with pytest.raises(IntegrityError), transaction.atomic():
        APIKey.objects.filter(pk=key.pk).update(rate_window="total")


@pytest.mark.django_db(transaction=True)
def test_reverse_migration_deletes_limits_the_previous_version_does_not_support():
    tier = Tier.objects.get_or_create(name="free")[0]
    kept = make_limit(tier, "/kept")
    make_limit(tier, "/week", window="week")
    make_limit(tier, "/tokens", window="fixed", unit="tokens", limit=2**40)
    own_limit(make_user("alice", tier=tier)).save()
    executor = MigrationExecutor(connection)
    executor.migrate([("ratelimits", "0008_charge_procedure")])
    try:
        before = executor.loader.project_state([("ratelimits", "0008_charge_procedure")]).apps
        limits = before.get_model("ratelimits", "RateLimit").objects
        assert list(limits.filter(deleted_at=None).values_list("pk", flat=True)) == [kept.pk]
        assert sorted(limits.values_list("tier", "window", "limit")) == [
            (tier.pk, "fixed", 10),
            (tier.pk, "fixed", 2**31 - 1),
            (tier.pk, "rolling", 10),
            (tier.pk, "rolling", 10),
        ]
    finally:
        call_command("migrate", verbosity=0)
