"""A key is denied what its owner's tier has no access to. Changes to either apply from the next request."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from apikeys.models import KeyUsage
from config.base.access import Permission, in_words
from tests.apikeys.conftest import make_key
from tiers.models import Tier, TierAccess

pytestmark = pytest.mark.usefixtures("counters")


def restrict(tier, *rules):
    """Replace the tier's access by these, each as “action resource [at host]”."""
    tier.access.all().delete()
    for rule in rules:
        TierAccess.objects.create(tier=tier, **Permission(*rule.replace(" at ", " ").split())._asdict())


@pytest.fixture
def outcome(verify, key):
    """The reason for denying the test's key, which has all permissions; empty if it's allowed."""

    def outcome(path="/orders", method="GET", **question):
        return verify(key=key.secret, method=method, path=path, **question)["reason"]

    return outcome


def test_a_new_tier_has_access_to_everything(outcome):
    tier = Tier.objects.create(name="new")
    assert in_words(row.permission for row in tier.access.all()) == "everything"
    tier.description = "changed"
    tier.save()
    assert tier.access.count() == 1
    assert outcome() == ""


def test_request_outside_the_tiers_access_is_denied(ask, key, alice):
    restrict(alice.tier, "read /orders/*")
    assert ask(key.secret, uri="/orders/7").status_code == 200
    response = ask(key.secret, uri="/reports")
    assert (response.status_code, response["X-Auth-Reason"]) == (403, "tier_denied")
    assert response.json()["detail"] == "The plan of this API key's owner doesn't include this request."
    event = KeyUsage.objects.latest("pk")
    assert (event.status_code, event.reason, event.rate_limit_id) == (403, "tier_denied", None)


def test_tier_change_applies_to_the_next_request(outcome, alice, free, pro):
    restrict(free, "* /orders/*")
    restrict(pro, "* /orders/*", "* /reports/*")
    assert outcome("/reports") == "tier_denied"
    alice.tier = pro
    alice.save()
    assert outcome("/reports") == ""
    restrict(pro, "* /orders/*")
    assert outcome("/reports") == "tier_denied"
    restrict(pro, "* *")
    assert outcome("/reports") == ""


def test_user_without_a_tier_is_not_restricted(outcome, alice, free):
    restrict(free)
    assert outcome() == "tier_denied"
    alice.tier = None
    alice.save()
    assert outcome() == ""


def test_key_also_needs_its_own_permission(verify, alice, free):
    restrict(free, "* *")
    reader = make_key(alice, allow=["read /orders"])
    assert verify(key=reader.secret, method="GET", path="/reports")["reason"] == "permission_denied"


def test_actions_hosts_and_names_match_as_in_permissions(outcome, free):
    restrict(free, "read /orders/*", "* /orders/* at sandbox.example.com", "create invoices")
    assert outcome(method="POST") == "tier_denied"
    assert outcome(method="POST", host="sandbox.example.com") == ""
    assert outcome(method="POST", host="api.example.com") == "tier_denied"
    assert outcome(resource="invoices", method="POST") == ""
    assert outcome(resource="invoices", method="DELETE") == "tier_denied"


def test_access_is_validated_like_a_permission(free):
    def errors(**fields):
        with pytest.raises(ValidationError) as caught:
            TierAccess(tier=free, **{"action": "read", "resource": "/orders", **fields}).full_clean()
        return set(caught.value.message_dict)

    assert errors(resource="/a//b") == {"resource"}
    assert errors(resource="not a name") == {"resource"}
    assert errors(action="list") == {"action"}
    assert errors(host="https://api.example.com") == {"host"}
    rule = TierAccess(tier=free, action="read", resource="/orders", host="API.example.com")
    rule.full_clean()
    assert str(rule) == "read /orders at api.example.com"
    rule.save()
    assert errors(host="api.EXAMPLE.com") == {"__all__"}
    with pytest.raises(IntegrityError), transaction.atomic():
        TierAccess.objects.create(tier=free, action="read", resource="/orders", host="api.example.com")


def test_denial_by_tier_is_not_charged(verify, key, free):
    restrict(free, "* /orders")
    for _ in range(3):
        assert verify(key=key.secret, method="GET", path="/reports")["limits"] == []
    assert verify(key=key.secret, method="GET", path="/orders")["limits"][0]["remaining"] == 99
