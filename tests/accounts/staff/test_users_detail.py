"""/users/<pk>/: a user's page."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session

from accounts.addresses import set_address
from accounts.models import User
from ratelimits.models import RateLimit
from tests.accounts.people import ALL_USER_PERMISSIONS, make_event, make_key, signed_in
from tests.accounts.signin.steps import make_verified, sign_in
from tests.rows import make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def page(client, user):
    return client.get(f"/users/{user.pk}/").content.decode()


def offered(client, user):
    return [action.name for action in client.get(f"/users/{user.pk}/").context["actions"]]


def test_the_page_shows_limits_keys_usage_and_history(staff_client, alice):
    RateLimit.objects.create(tier=alice.tier, path="/orders/*", limit=1234, period=60)
    RateLimit.objects.create(tier=alice.tier, path="/reports", limit=50_000, window="month", mode="observe")
    key = make_key(alice, last_used_ip="192.0.2.7")
    make_event(key)
    make_event(key, status_code=429, reason="rate_limited")
    staff_client.post(f"/users/{alice.pk}/suspend/")
    text = page(staff_client, alice)
    for expected in ("1,234", "/orders/*", "50,000 per month", "observe only", "gate_Ab3dE1…9xYz", "192.0.2.7"):
        assert expected in text
    for expected in ("Rate limited", "Allowed", "Suspended.", "owner suspended", "100 per minute"):
        assert expected in text
    assert "rate_limited" not in text
    usage = staff_client.get(f"/users/{alice.pk}/").context["usage"]
    assert usage == {"requests": 2, "denied": 1}


def test_keys_and_usage_require_their_view_permissions(alice):
    make_event(make_key(alice, last_used_ip="192.0.2.7"))
    steve = make_staff("steve", "view_user")
    seen = page(signed_in(steve), alice)
    for hidden in ("gate_Ab3dE1", "192.0.2.7", "/orders", "Last 24 hours"):
        assert hidden not in seen
    steve.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    assert "gate_Ab3dE1" in page(signed_in(steve), alice)
    assert "Last 24 hours" not in page(signed_in(steve), alice)
    steve.user_permissions.add(Permission.objects.get(codename="view_keyusage"))
    assert "GET /orders" in page(signed_in(steve), alice)


def test_open_sessions_are_listed(staff_client, free):
    alice = make_verified("alice")
    from django.test import Client

    browser = Client()
    sign_in(browser, "alice", REMOTE_ADDR="198.51.100.4", HTTP_USER_AGENT="Lynx/2.9")
    text = page(staff_client, alice)
    assert "198.51.100.4" in text
    assert "Lynx/2.9" in text
    staff_client.post(f"/users/{alice.pk}/sign-out/")
    assert "Not signed in anywhere." in page(staff_client, alice)
    assert Session.objects.exists()


def test_the_page_shows_whether_a_password_is_set(staff_client, alice):
    assert "<dd>Set</dd>" in page(staff_client, alice)
    alice.set_unusable_password()
    alice.save()
    assert "<dd>Not set</dd>" in page(staff_client, alice)
    User.objects.filter(pk=alice.pk).update(oauth_provider="github")
    assert "<dd>Github</dd>" in page(staff_client, alice)
    assert "argon2" not in page(staff_client, alice)


def test_the_page_shows_whether_the_address_is_verified(staff_client, alice):
    set_address(alice, verified=False)
    assert "not verified" in page(staff_client, alice)
    set_address(alice, verified=True)
    assert "not verified" not in page(staff_client, alice)


def test_a_deleted_or_missing_tier_is_explained(staff_client, alice):
    Tier.objects.filter(pk=alice.tier_id).update(deleted_at="2026-01-01T00:00Z")
    assert "was deleted, so the default rate limit applies" in page(staff_client, alice)
    User.objects.filter(pk=alice.pk).update(tier=None)
    assert "No tier, so the default rate limit applies" in page(staff_client, alice)


def test_only_actions_that_apply_are_offered(staff_client, alice):
    set_address(alice, verified=False)
    assert offered(staff_client, alice) == [
        "suspend", "delete", "sign-out", "send-reset", "verify", "resend-verification",
    ]  # fmt: skip
    alice.suspend()
    assert "reactivate" in offered(staff_client, alice)
    alice.delete()
    assert offered(staff_client, alice) == ["restore"]
    assert "Edit</a>" not in page(staff_client, alice)


def test_staff_can_view_other_staff_but_not_change_them(sue):
    client = signed_in(make_staff("steve", *ALL_USER_PERMISSIONS))
    response = client.get(f"/users/{sue.pk}/")
    assert response.context["actions"] == []
    assert not response.context["may_edit"]
    assert not response.context["may_erase"]
    assert "Groups" in response.content.decode()


def test_erasing_is_only_offered_to_superusers(staff_client, sue, alice):
    assert staff_client.get(f"/users/{alice.pk}/").context["may_erase"]
    assert not staff_client.get(f"/users/{sue.pk}/").context["may_erase"]
    client = signed_in(make_staff("steve", *ALL_USER_PERMISSIONS))
    assert not client.get(f"/users/{alice.pk}/").context["may_erase"]


def test_values_are_escaped(staff_client, alice):
    evil = "<script>alert(1)</script>"
    User.objects.filter(pk=alice.pk).update(name=evil)
    make_event(make_key(alice, evil), endpoint=f"/{evil}")
    Tier.objects.filter(pk=alice.tier_id).update(description=evil)
    assert evil not in page(staff_client, alice)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page(staff_client, alice)


@pytest.mark.parametrize("count", [1, 12])
def test_the_number_of_queries_does_not_grow_with_keys_events_and_history(
    staff_client, alice, django_assert_num_queries, count
):
    for n in range(count):
        key = make_key(alice, f"key {n}")
        make_event(key)
        RateLimit.objects.create(tier=alice.tier, path=f"/p{n}", limit=1, period=60)
        staff_client.post(f"/users/{alice.pk}/{'reactivate' if n % 2 else 'suspend'}/")
    if count == 12:
        assert alice.is_active
    alice.reactivate()
    page(staff_client, alice)
    with django_assert_num_queries(20):
        page(staff_client, alice)


def test_a_user_without_a_picture_is_not_found_at_its_url(staff_client, alice):
    assert staff_client.get(f"/users/{alice.pk}/picture/").status_code == 404
