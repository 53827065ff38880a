"""Explain a decision: all checks in order, and the one that decides, without counting or recording a request."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import hash_secret, new_secret
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.rules import budgets_for, forget_rules
from tests.apikeys.conftest import make_key
from tests.conftest import make_user

PAGE = "/admin/apikeys/explain/"


@pytest.fixture
def explain(staff_client):
    def explain(key, path="/orders", method="GET", address="203.0.113.9", host=""):
        sent = {"key": key, "path": path, "method": method, "address": address, "host": host}
        response = staff_client.post(PAGE, sent)
        assert response.status_code == 200
        return response

    return explain


def results(response):
    return {check.title: (check.result, check.reason) for check in response.context["explanation"].checks}


def deciding_reason(response):
    found = [check.reason for check in response.context["explanation"].checks if check.decides]
    assert len(found) <= 1
    return found[0] if found else ""


def test_valid_key_passes_every_check(explain, key):
    response = explain(key.secret)
    assert set(results(response).values()) == {("passed", "")}
    assert len(results(response)) == 12
    assert "Allowed" in response.text
    assert "“* *”" in response.text
    assert f"/admin/apikeys/apikey/{key.pk}/" in response.text


def test_checks_of_the_secret_are_skipped_for_an_id(explain, key):
    response = explain(str(key.pk))
    assert [result for result, _ in results(response).values()][:3] == ["skipped"] * 3
    assert deciding_reason(response) == ""
    assert str(key.pk) in response.text


def test_explaining_counts_and_records_nothing(explain, alice, counters):
    key = make_key(alice, rate_limit=1, rate_period=60)
    for _ in range(3):
        assert deciding_reason(explain(key.secret)) == ""
    assert not KeyUsage.objects.exists()
    key.refresh_from_db()
    assert key.last_used_at is None


@pytest.mark.parametrize("given", ["secret", "malformed", "unknown"])
def test_secret_is_not_on_the_page(explain, key, given):
    secret = {"secret": key.secret, "malformed": f"{key.secret}x", "unknown": new_secret()}[given]
    response = explain(secret)
    assert secret not in response.text
    assert secret not in str(response.headers)


def test_secret_is_not_shown_again_after_an_error(staff_client, key):
    sent = {"key": key.secret, "path": "/", "method": "GET", "address": "nowhere"}
    response = staff_client.post(PAGE, sent)
    assert key.secret not in response.text
    assert "Enter a valid IPv4 or IPv6 address." in response.text
    assert 'value="nowhere"' in response.text
    assert "explanation" not in response.context


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"key": "", "path": "/", "method": "GET"},
        {"key": "x" * 300, "path": "/", "method": "GET"},
        {"key": "\x00"},
        {"key": "k", "path": "/", "method": "STEAL"},
        {"key": "k", "path": "", "method": "GET"},
    ],
)
def test_invalid_input_to_explain_is_a_field_error(staff_client, sent):
    response = staff_client.post(PAGE, sent)
    assert response.status_code == 200
    assert "errorlist" in response.text


def test_all_failed_checks_are_shown_and_the_first_decides(explain, key, alice):
    APIKey.objects.filter(pk=key.pk).update(
        is_active=False, revoked_at=timezone.now(), expires_at=timezone.now(), allowed_ips=["192.0.2.1"]
    )
    KeyPermission.objects.filter(api_key=key).delete()
    alice.suspend()
    response = explain(key.secret)
    assert deciding_reason(response) == "revoked_key"
    failed = [reason for result, reason in results(response).values() if result == "failed"]
    assert failed == [
        "revoked_key",
        "disabled_key",
        "expired_key",
        "owner_inactive",
        "address_not_allowed",
        "permission_denied",
    ]
    assert "alice is suspended." in response.text
    assert "203.0.113.9. Allowed: 192.0.2.1." in response.text
    assert "Needed: read /orders. The key has: no permissions." in response.text


def test_ambiguous_path_is_explained(explain, key):
    response = explain(key.secret, path="/a/../b")
    assert deciding_reason(response) == "ambiguous_path"
    assert "The path has a dot segment." in response.text
    assert results(response)["The key has the permission"] == ("skipped", "")
    assert results(response)["No rate limit is exceeded"] == ("skipped", "")


@pytest.mark.parametrize(("given", "reason"), [("nonsense", "malformed_key"), (new_secret(), "unknown_key")])
def test_checks_that_need_a_key_are_skipped_without_one(explain, counters, given, reason):
    response = explain(given)
    assert deciding_reason(response) == reason
    assert results(response)["The key is enabled"] == ("skipped", "")
    assert results(response)["The path is unambiguous"] == ("passed", "")


def test_unknown_key_id_is_a_field_error(explain, counters):
    assert "No API key has this ID." in explain(str(uuid.uuid4())).text


def test_deleted_owner_and_old_secret_are_explained(explain, key, alice):
    old, key.previous_hash = key.secret, key.secret_hash
    key.secret_hash, key.previous_expires_at = hash_secret(new_secret()), timezone.now() + timedelta(hours=1)
    key.save()
    assert "This is the secret from before the last rotation." in explain(old).text
    APIKey.objects.filter(pk=key.pk).update(previous_expires_at=timezone.now())
    alice.delete()
    response = explain(old)
    assert "Its grace period has ended." in response.text
    assert "alice is deleted." in response.text
    assert deciding_reason(response) == "expired_key"


@pytest.mark.django_db(transaction=True)
def test_exceeded_limit_decides_and_is_shown(explain, key, free):
    RateLimit.objects.create(tier=free, name="orders a minute", path="/orders/*", limit=5, period=60)
    forget_rules()
    limiter().hit(budgets_for(f"user:{key.user_id}", free.pk, "GET", "/orders/7"), 5)
    response = explain(key.secret, path="/orders/7")
    assert deciding_reason(response) == "rate_limited"
    assert "orders a minute" in response.text
    assert results(explain(key.secret, path="/invoices"))["No rate limit is exceeded"] == ("passed", "")


def test_no_limit_applies_with_the_limiter_off(explain, key, settings):
    settings.RATE_LIMITER_ENABLED = False
    assert "No rate limit applies." in explain(key.secret).text


def test_id_in_a_link_is_only_filled_in(staff_client, key):
    response = staff_client.get(PAGE, {"id": str(key.pk)})
    assert f'value="{key.pk}"' in response.text
    assert "explanation" not in response.context


def test_hostile_names_are_escaped(explain, key, free):
    APIKey.objects.filter(pk=key.pk).update(name="<script>alert(1)</script>")
    free.users.update(name="x")
    response = explain(key.secret, path="/<script>")
    assert "<script>alert" not in response.text
    assert not re.search(r"<td>[^<]*/<script>", response.text)


def test_staff_need_permission_to_view_keys(client, free, key):
    clerk = make_user("clerk", is_staff=True)
    client.force_login(clerk)
    assert client.get(PAGE).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    assert client.get(PAGE).status_code == 200


@pytest.mark.parametrize("name", ["explain/", "connect/", "connect/test/"])
def test_only_staff_can_use_the_tools(client, alice, name):
    assert client.post(f"/admin/apikeys/{name}").status_code in {302, 405}
    client.force_login(alice)
    assert client.post(f"/admin/apikeys/{name}").status_code in {403, 405}
    assert client.get(f"/admin/apikeys/{name}").status_code in {403, 405}


def test_host_and_tier_are_explained(explain, staff_client, alice, counters):
    live = make_key(alice, allow=["read /orders at api.example.com"])
    assert deciding_reason(explain(live.secret, host="API.example.com:443")) == ""
    response = explain(live.secret, host="sandbox.example.com")
    assert deciding_reason(response) == "permission_denied"
    assert "Needed: read /orders at sandbox.example.com. The key has: read /orders at api.example.com." in response.text
    alice.tier.access.update(resource="/reports/*")
    response = explain(live.secret, host="api.example.com")
    assert deciding_reason(response) == "tier_denied"
    assert "The tier free has access to: * /reports/*." in response.text
    alice.tier.access.all().delete()
    assert "The tier free has access to: nothing." in explain(live.secret, host="api.example.com").text
    type(alice).objects.update(tier=None)
    response = explain(live.secret, host="api.example.com")
    assert deciding_reason(response) == ""
    assert "The owner has no tier." in response.text


def test_invalid_host_is_a_field_error(explain, key):
    response = explain(key.secret, host="https://api.example.com")
    assert response.context["form"].errors == {"host": ["Enter a valid host, for example api.example.com."]}
    assert "https://api.example.com" in response.text
