"""`manage.py demo` creates sample data once."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, KeyUsage
from apikeys.tools import demo, demo_usage
from config.base.history import describe
from ratelimits.models import Balance, RateLimit
from tests.apikeys.conftest import make_key
from tiers.models import Tier, TierAccess


def counts():
    return [model.objects.count() for model in (Tier, RateLimit, User, APIKey, KeyUsage)]


def test_demo_creates_tiers_limits_users_keys_and_usage(small_demo, capsys):
    call_command("demo")
    tiers, limits, users, keys, usage = counts()
    assert (tiers, limits, users, keys) == (4, 31, 12, 20)
    assert usage > 0
    assert "Created 12 users." in capsys.readouterr().out


def test_one_tier_has_access_rules_and_a_key_policy(small_demo):
    demo.fill()
    basic = Tier.objects.get(name="basic")
    assert {str(rule) for rule in basic.access.all()} > {"* /orders/*", "* * at sandbox.demo.example"}
    assert (basic.max_keys, basic.max_key_days) == (5, 365)
    assert [str(rule) for rule in Tier.objects.get(name="pro").access.all()] == ["* *"]


def test_one_user_has_an_own_limit_and_one_a_tier_that_ends(small_demo):
    demo.fill()
    exception = RateLimit.objects.get(name="orders-campaign")
    assert (exception.window, exception.user.billing_day) == ("week", 31)
    assert exception.ends_at > timezone.now()
    assert User.objects.get(tier_until__gt=timezone.now()).tier is not None


def test_second_run_adds_nothing(small_demo, capsys):
    call_command("demo")
    before = counts()
    call_command("demo")
    assert counts() == before


def test_rows_are_valid(small_demo):
    demo.fill()
    for row in [*RateLimit.objects.all(), *User.objects.live(), *APIKey.objects.all(), *TierAccess.objects.all()]:
        row.full_clean(exclude=["password"])


def test_this_months_tokens_are_charged(small_demo):
    demo.fill()
    begin = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    reported = KeyUsage.objects.filter(created_at__gte=begin).aggregate(sum=Sum("tokens_used"))["sum"]
    assert Balance.objects.aggregate(sum=Sum("used"))["sum"] == reported


def test_history_has_actions_of_the_first_superuser(alice, bob, sue):
    alice.suspend()
    key = make_key(alice)
    key.revoked_at, key.revoked_reason = timezone.now(), "Found in a public repository."
    demo.create_history([alice, bob], [key, make_key(bob)], random.Random(1))
    assert [describe(entry).summary for entry in LogEntry.objects.order_by("pk")] == [
        "Suspended.", "Revoked: Found in a public repository.",
    ]  # fmt: skip
    for entry in LogEntry.objects.all():
        assert entry.user == sue
        assert entry.action_time < timezone.now() - timedelta(hours=1)


def test_no_history_without_a_superuser(small_demo):
    demo.fill()
    assert not LogEntry.objects.exists()


def test_overview_mentions_a_key_with_denied_requests(small_demo, staff_client):
    demo.fill()
    call_command("fold_usage")
    page = staff_client.get("/admin/")
    assert any("requests denied" in item.text and item.text.startswith("API key") for item in page.context["attention"])


def test_no_one_can_sign_in_as_a_demo_user(small_demo):
    demo.fill()
    assert not any(user.has_usable_password() for user in User.objects.all())


def test_usage_rows_have_the_owner_and_a_uuid7(small_demo):
    demo.fill()
    for event in KeyUsage.objects.select_related("api_key"):
        assert event.user_id == event.api_key.user_id
        assert event.id.version == 7


def test_key_without_requests_was_never_used(alice, monkeypatch):
    monkeypatch.setattr(demo_usage, "new_events", lambda *args: iter(()))
    key = make_key(alice)
    monkeypatch.setattr(demo_usage, "FAILURES", 0)
    assert demo.create_usage([key], FixedRandom(0)) == 0
    assert APIKey.objects.get().last_used_at is None


class FixedRandom:
    def __init__(self, draw):
        self.draw = draw

    def random(self):
        return self.draw

    def uniform(self, low, high):
        return high

    def choice(self, options):
        return options[0]


@pytest.mark.parametrize(
    ("draw", "state"), [(0.01, "revoked"), (0.05, "disabled"), (0.3, "expires"), (0.9, "never expires")]
)
def test_keys_of_every_state_are_created(alice, draw, state):
    key = demo.new_key(alice, FixedRandom(draw))
    assert (key.revoked_at is not None) == (state == "revoked")
    assert key.is_active == (state != "disabled")
    assert (key.expires_at is not None) == (state == "expires")
