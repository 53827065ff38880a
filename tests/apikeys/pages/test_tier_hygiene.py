"""Hygiene lists keys with permissions beyond their owner's tier, and keys beyond the tier's key policy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys.models import APIKey
from apikeys.pages.hygiene import includes
from config.base.access import Permission
from tests.conftest import make_user
from tests.rows import make_key
from tiers.models import Tier, TierAccess

DAY = timedelta(days=1)


@pytest.fixture
def listed_keys(staff_client):
    def listed_keys(problem):
        response = staff_client.get("/admin/apikeys/hygiene/", {"show": problem})
        assert response.status_code == 200
        return {row.key.name for row, _ in response.context["rows"]}

    return listed_keys


def rule(text):
    action, resource, host = [*text.replace(" at ", " ").split(), ""][:3]
    return TierAccess(**Permission(action, resource, host)._asdict())


@pytest.mark.parametrize(
    ("tier_rule", "permission", "covered"),
    [
        ("* *", "* *", True),
        ("* *", "* /*", True),
        ("* /*", "* *", True),
        ("* *", "read orders", True),
        ("read *", "* *", False),
        ("read /orders/*", "read /orders", True),
        ("read /orders/*", "read /orders/{id}", True),
        ("read /orders/*", "read /orders/{id}/*", True),
        ("* /orders/*", "delete /orders/*", True),
        ("read /orders/*", "* /orders/*", False),
        ("read /orders/*", "read *", False),
        ("read /orders/*", "read /*", False),
        ("read /orders/{id}", "read /orders/7", True),
        ("read /orders/{id}", "read /orders/*", False),
        ("read /a/{x}/*", "read /a/*", False),
        ("read /a/{x}/*", "read /a/b/*", True),
        ("read /orders/7", "read /orders/{id}", False),
        ("read orders", "read orders", True),
        ("read orders", "read invoices", False),
        ("read /orders", "read orders", False),
        ("* * at *.example.com", "* * at api.example.com", True),
        ("* * at *.example.com", "* * at *.eu.example.com", True),
        ("* * at *.example.com", "* *", False),
        ("* * at api.example.com", "* * at *.example.com", False),
        ("* *", "* * at api.example.com", True),
    ],
)
def test_tier_rule_must_cover_the_whole_permission(tier_rule, permission, covered):
    assert includes(rule(tier_rule), rule(permission)) is covered


def test_keys_with_permissions_beyond_the_tier_are_listed(listed_keys, staff_client, alice, free, pro):
    make_key(alice, "partly", allow=["read /orders/7", "read /reports"])
    make_key(alice, "covered", allow=["read /orders/7"])
    make_key(alice, "everything")
    make_key(make_user("petra", tier=pro), "of a tier with everything")
    make_key(make_user("nora", tier=None), "without a tier")
    APIKey.objects.filter(pk=make_key(alice, "revoked").pk).revoke("gone")
    assert listed_keys("beyond-tier") == set()
    free.access.update(action="*", resource="/orders/*")
    assert listed_keys("beyond-tier") == {"partly", "everything"}
    shown = staff_client.get("/admin/apikeys/hygiene/", {"show": "beyond-tier"}).text
    assert "read /reports" in shown
    assert "read /orders/7" not in shown
    free.access.all().delete()
    assert listed_keys("beyond-tier") == {"partly", "everything", "covered"}


def test_default_tier_is_used_after_the_end_of_a_tier(listed_keys, free, pro):
    petra = make_user("petra", tier=pro, tier_until=timezone.now() + DAY)
    make_key(petra, "on pro")
    free.access.update(resource="/orders/*")
    Tier.objects.filter(pk=free.pk).update(max_key_days=1)
    assert (listed_keys("beyond-tier"), listed_keys("beyond-policy")) == (set(), set())
    type(petra).objects.filter(pk=petra.pk).update(tier_until=timezone.now() - DAY)
    assert (listed_keys("beyond-tier"), listed_keys("beyond-policy")) == ({"on pro"}, {"on pro"})
    Tier.objects.filter(pk=free.pk).update(name="no longer the default")
    assert (listed_keys("beyond-tier"), listed_keys("beyond-policy")) == (set(), set())


def test_keys_beyond_the_key_policy_are_listed(listed_keys, alice, bob, free):
    now = timezone.now()
    make_key(alice, "oldest", expires_at=now + 5 * DAY)
    make_key(alice, "second", expires_at=now + 5 * DAY)
    make_key(alice, "third", expires_at=now + 5 * DAY)
    make_key(bob, "never expires")
    make_key(bob, "expires late", expires_at=now + 31 * DAY)
    assert listed_keys("beyond-policy") == set()
    Tier.objects.filter(pk=free.pk).update(max_keys=2)
    assert listed_keys("beyond-policy") == {"third"}
    Tier.objects.filter(pk=free.pk).update(max_keys=None, max_key_days=30)
    assert listed_keys("beyond-policy") == {"never expires", "expires late"}
    Tier.objects.filter(pk=free.pk).update(max_keys=1)
    assert listed_keys("beyond-policy") == {"second", "third", "never expires", "expires late"}
    APIKey.objects.filter(name="oldest").revoke("gone")
    assert listed_keys("beyond-policy") == {"third", "never expires", "expires late"}
