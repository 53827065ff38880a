"""Checks run in a fixed order, the first that fails gives the reason, and a decision about a known key adds one row."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from apikeys.decision.checks import CHECKS, Facts, Inquiry
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import Verdict
from apikeys.decision.lookup import read
from apikeys.gateway.answers import identity_headers
from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import new_secret
from ratelimits.limiter import limiter
from ratelimits.rules import budgets_for
from tests.apikeys.conftest import make_key

AMBIGUOUS = "/orders/%2e%2e/users"


def reason(response):
    return response.headers.get("X-Auth-Reason", "")


def revoke(key):
    APIKey.objects.filter(pk=key.pk).revoke("leaked")


def disable(key):
    APIKey.objects.filter(pk=key.pk).update(is_active=False)


def expire(key):
    APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def suspend(key):
    key.user.suspend()


def delete_owner(key):
    key.user.delete()


def restrict_addresses(key):
    APIKey.objects.filter(pk=key.pk).update(allowed_ips=["192.0.2.0/24"])


def remove_permissions(key):
    KeyPermission.objects.filter(api_key=key).delete()


def remove_tier_access(key):
    key.user.tier.access.all().delete()


def use_up(key):
    budgets = budgets_for(f"user:{key.user_id}", key.user.tier_id, "GET", "/orders")
    limiter().hit(budgets, 100)


# Each makes one check fail. With all the later ones failing too, the first must still give the reason.
FAILURES = [
    ("revoked_key", 401, revoke),
    ("disabled_key", 401, disable),
    ("expired_key", 401, expire),
    ("owner_inactive", 401, suspend),
    ("owner_inactive", 401, delete_owner),
    ("address_not_allowed", 403, restrict_addresses),
    ("permission_denied", 403, remove_permissions),
    ("tier_denied", 403, remove_tier_access),
    ("rate_limited", 429, use_up),
]


@pytest.mark.parametrize("place", range(len(FAILURES)))
@pytest.mark.django_db(transaction=True)
def test_first_failing_check_gives_the_reason(ask, key, place):
    for _, _, break_it in FAILURES[place:]:
        break_it(key)
    expected, status, _ = FAILURES[place]
    response = ask(key.secret)
    assert reason(response) == expected
    assert response["X-Auth-Status"] == str(status)
    event = KeyUsage.objects.get()
    assert (event.status_code, event.reason) == (status, expected)


def test_ambiguous_path_is_checked_after_address_and_before_permission(ask, key):
    remove_permissions(key)
    response = ask(key.secret, uri=AMBIGUOUS)
    assert (response.status_code, reason(response)) == (403, "ambiguous_path")
    restrict_addresses(key)
    assert reason(ask(key.secret, uri=AMBIGUOUS)) == "address_not_allowed"


@pytest.mark.parametrize(
    "uri",
    [
        "/a/../b",
        "/a/%2e%2e/b",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "/a%00b",
        "/a%zz",
        "/%ff",
        "orders",
        "*",
        "http://other.example/orders",
        "/..;/admin",
        "/a%252fb",
    ],
)
def test_ambiguous_path_is_denied_and_recorded(ask, key, uri):
    response = ask(key.secret, uri=uri)
    assert (response.status_code, reason(response)) == (403, "ambiguous_path")
    assert KeyUsage.objects.get().endpoint == uri


def test_allowed_request_gets_identity_headers_and_a_row(ask, key, alice):
    response = ask(key.secret, uri="/orders//7/?page=2", **{"User-Agent": "curl/8"})
    assert (response.status_code, response.content) == (200, b"ok\n")
    event = KeyUsage.objects.get()
    told = {name: value for name, value in response.items() if name.startswith("X-Auth")}
    assert told == {
        "X-Auth-User-Id": str(alice.pk),
        "X-Auth-Username": "alice",
        "X-Auth-Tier": "free",
        "X-Auth-Key-Id": str(key.pk),
        "X-Auth-Event-Id": str(event.pk),
    }
    assert (event.api_key_id, event.user_id, event.endpoint, event.method) == (key.pk, alice.pk, "/orders/7", "GET")
    assert (event.status_code, event.reason, event.rate_limit_id) == (200, "", None)
    assert (event.ip_address, event.user_agent) == ("203.0.113.9", "curl/8")
    assert event.created_at <= timezone.now()
    assert (event.tokens_used, event.response_time_ms, event.metadata, event.reported_at) == (None, None, None, None)


def test_denial_has_no_identity(ask, key):
    revoke(key)
    response = ask(key.secret)
    assert not [name for name in response.headers if name in {"X-Auth-User-Id", "X-Auth-Key-Id", "X-Auth-Event-Id"}]
    assert "alice" not in response.content.decode() + str(response.headers)


def test_unknown_key_adds_no_row(ask, key):
    response = ask(new_secret())
    assert (response.status_code, reason(response)) == (401, "unknown_key")
    assert not KeyUsage.objects.exists()


def test_deleted_key_is_unknown_until_restored(ask, key):
    key.delete()
    assert reason(ask(key.secret)) == "unknown_key"
    key.restore()
    assert ask(key.secret).status_code == 200


def test_restoring_the_owner_reactivates_only_their_active_keys(ask, alice, key):
    revoked, disabled, deleted = (make_key(alice) for _ in range(3))
    revoke(revoked)
    disable(disabled)
    deleted.delete()
    alice.delete()
    assert reason(ask(key.secret)) == "owner_inactive"
    alice.restore()
    found = [reason(ask(each.secret)) for each in (key, revoked, disabled, deleted)]
    assert found == ["", "revoked_key", "disabled_key", "unknown_key"]


def test_key_that_expires_later_is_allowed(ask, key):
    APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() + timedelta(seconds=30))
    assert ask(key.secret).status_code == 200


def test_owner_without_tier_or_on_deleted_tier_is_allowed(ask, verify, key, free):
    free.users.update(tier=None)
    assert ask(key.secret)["X-Auth-Tier"] == ""
    free.users.update(tier=free)
    type(free).objects.filter(pk=free.pk).update(deleted_at=timezone.now())
    assert ask(key.secret)["X-Auth-Tier"] == ""
    assert verify(key=key.secret, method="GET", path="/orders")["tier"] is None


@pytest.mark.parametrize(
    ("name", "sent"), [("Größe 100%", "Gr%C3%B6%C3%9Fe 100%25"), ("a\nb", "a%0Ab"), ("pro+", "pro+")]
)
def test_tier_name_is_percent_encoded(ask, key, free, name, sent):
    type(free).objects.filter(pk=free.pk).update(name=name)
    assert ask(key.secret)["X-Auth-Tier"] == sent


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ([], "203.0.113.9", True),
        ([], "", True),
        (["203.0.113.9"], "203.0.113.9", True),
        (["203.0.113.9"], "203.0.113.10", False),
        (["203.0.113.0/24"], "203.0.113.77", True),
        (["10.0.0.0/8", "203.0.113.0/28"], "203.0.113.16", False),
        (["203.0.113.9"], "::ffff:203.0.113.9", True),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "2001:DB8:0001:0::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["2001:db8::/32"], "203.0.113.9", False),
        (["203.0.113.9"], "", False),
        (["203.0.113.9"], "unknown", False),
        (["nonsense"], "203.0.113.9", False),
    ],
)
def test_only_allowed_addresses_are_allowed(ask, key, networks, address, allowed):
    APIKey.objects.filter(pk=key.pk).update(allowed_ips=networks)
    response = ask(key.secret, address=address)
    assert reason(response) == ("" if allowed else "address_not_allowed")


@pytest.mark.parametrize(
    ("permission", "method", "uri", "allowed"),
    [
        ("* *", "DELETE", "/anything", True),
        ("* /*", "PROPFIND", "/anything", True),
        ("read *", "GET", "/orders", True),
        ("read *", "HEAD", "/orders", True),
        ("read *", "OPTIONS", "/orders", True),
        ("read *", "POST", "/orders", False),
        ("read *", "PROPFIND", "/orders", False),
        ("read *", "get", "/orders", False),
        ("create *", "POST", "/orders", True),
        ("update *", "PUT", "/orders", True),
        ("update *", "PATCH", "/orders", True),
        ("delete *", "DELETE", "/orders", True),
        ("delete *", "GET", "/orders", False),
        ("read /orders", "GET", "/orders/", True),
        ("read /orders", "GET", "/orders/7", False),
        ("read /orders/{id}", "GET", "/orders/7?x=1", True),
        ("read /orders/{id}", "GET", "/orders/7/lines", False),
        ("read /orders/*", "GET", "/orders", True),
        ("read /orders/*", "GET", "/orders/7/lines", True),
        ("read /orders/*", "GET", "/ordersx", False),
        ("read /orders", "GET", "/Orders", False),
        ("read orders", "GET", "/orders", False),
    ],
)
def test_permission_covers_its_action_and_paths(ask, alice, counters, permission, method, uri, allowed):
    key = make_key(alice, allow=[permission])
    assert reason(ask(key.secret, method=method, uri=uri)) == ("" if allowed else "permission_denied")


def test_one_matching_permission_is_enough(ask, alice, counters):
    key = make_key(alice, allow=["read /users/*", "create /orders", "read /orders/{id}"])
    assert ask(key.secret, uri="/orders/7").status_code == 200
    assert reason(ask(key.secret, uri="/orders/7", method="POST")) == "permission_denied"


def test_key_without_permissions_is_denied(ask, alice, counters):
    assert reason(ask(make_key(alice, allow=[]).secret)) == "permission_denied"


class TestRotation:
    def test_both_secrets_work_during_the_grace_period(self, ask, rotated):
        assert ask(rotated.secret)["X-Auth-Key-Id"] == ask(rotated.old)["X-Auth-Key-Id"] == str(rotated.pk)

    def test_old_secret_expires_after_the_grace_period(self, ask, rotated):
        APIKey.objects.filter(pk=rotated.pk).update(previous_expires_at=timezone.now())
        assert reason(ask(rotated.old)) == "expired_key"
        assert ask(rotated.secret).status_code == 200

    def test_old_secret_without_grace_period_is_denied(self, ask, rotated):
        APIKey.objects.filter(pk=rotated.pk).update(previous_expires_at=None)
        assert reason(ask(rotated.old)) == "expired_key"

    def test_revoking_the_key_denies_both_secrets(self, ask, rotated):
        revoke(rotated)
        assert [reason(ask(secret)) for secret in (rotated.old, rotated.secret)] == ["revoked_key"] * 2


def test_other_owners_key_is_not_affected(ask, key, bob):
    other = make_key(bob)
    revoke(key)
    response = ask(other.secret)
    assert response["X-Auth-User-Id"] == str(bob.pk)
    assert KeyUsage.objects.get().api_key_id == other.pk


def test_event_ids_are_uuid7(ask, key):
    ids = [UUID(ask(key.secret)["X-Auth-Event-Id"]) for _ in range(3)]
    assert all(event.version == 7 for event in ids)


@pytest.mark.parametrize("agent", ["a" * 5000, "caf\xe9", "x\0y", ""])
def test_user_agent_is_truncated_and_stripped_of_nul(ask, key, agent):
    assert ask(key.secret, **{"User-Agent": agent}).status_code == 200
    stored = KeyUsage.objects.get().user_agent
    assert len(stored) <= 512
    assert "\0" not in stored


def test_long_path_is_matched_whole_and_stored_truncated(ask, alice, counters):
    key = make_key(alice, allow=[f"read /{'a' * 300}x"[:256]])
    assert reason(ask(key.secret, uri=f"/{'a' * 400}")) == "permission_denied"
    assert KeyUsage.objects.get().endpoint == f"/{'a' * 254}"


def test_unicode_path_is_stored_decoded(ask, key):
    ask(key.secret, uri="/caf%C3%A9")
    ask(key.secret, uri="/caf\xc3\xa9")
    assert set(KeyUsage.objects.values_list("endpoint", flat=True)) == {"/café"}


def test_checks_that_need_the_key_fail_before_it_is_known():
    inquiry = Inquiry(Facts(Credential(), method="GET", path="/orders"), None)
    for check in CHECKS[3:8]:
        with pytest.raises(LookupError, match="not known"):
            check.deny(inquiry)


def test_failed_statement_is_not_retried_in_a_transaction(db):
    with pytest.raises(DatabaseError), transaction.atomic():
        read("SELECT nothing FROM nowhere", {})


def test_verdict_without_a_key_has_no_identity():
    with pytest.raises(ValueError, match="no identity"):
        identity_headers(Verdict(allowed=True, status=200))
