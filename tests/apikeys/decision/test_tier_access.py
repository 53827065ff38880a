"""What the owner's tier doesn't list, no key may do; a change of either is in force on the next request."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from apikeys.models import KeyUsage
from config.base.access import Permission, in_words
from tests.apikeys.conftest import make_key
from tiers.models import Tier, TierAccess

pytestmark = pytest.mark.usefixtures("counters")


def narrow(tier, *rules):
    """Give the tier access to only these, each as “action resource [at host]”."""
    tier.access.all().delete()
    for rule in rules:
        TierAccess.objects.create(tier=tier, **Permission(*rule.replace(" at ", " ").split())._asdict())


@pytest.fixture
def outcome(verify, key):
    """The reason for denying the test's key, which may do everything itself; empty if it's allowed."""

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


def test_what_the_tier_does_not_list_is_denied(ask, key, alice):
    narrow(alice.tier, "read /orders/*")
    assert ask(key.secret, uri="/orders/7").status_code == 200
    response = ask(key.secret, uri="/reports")
    assert (response.status_code, response["X-Auth-Reason"]) == (403, "tier_denied")
    assert response.json()["detail"] == "The plan of this API key's owner doesn't include this request."
    event = KeyUsage.objects.latest("pk")
    assert (event.status_code, event.reason, event.rate_limit_id) == (403, "tier_denied", None)


def test_a_better_tier_counts_from_the_next_request_on(outcome, alice, free, pro):
    narrow(free, "* /orders/*")
    narrow(pro, "* /orders/*", "* /reports/*")
    assert outcome("/reports") == "tier_denied"
    alice.tier = pro
    alice.save()
    assert outcome("/reports") == ""
    narrow(pro, "* /orders/*")
    assert outcome("/reports") == "tier_denied"
    narrow(pro, "* *")
    assert outcome("/reports") == ""


def test_without_a_tier_nobody_is_restricted_by_one(outcome, alice, free):
    narrow(free)
    assert outcome() == "tier_denied"
    alice.tier = None
    alice.save()
    assert outcome() == ""


def test_the_key_needs_its_own_permission_too(verify, alice, free):
    narrow(free, "* *")
    reader = make_key(alice, allow=["read /orders"])
    assert verify(key=reader.secret, method="GET", path="/reports")["reason"] == "permission_denied"


def test_actions_hosts_and_names_count_as_in_permissions(outcome, free):
    narrow(free, "read /orders/*", "* /orders/* at sandbox.example.com", "create invoices")
    assert outcome(method="POST") == "tier_denied"
    assert outcome(method="POST", host="sandbox.example.com") == ""
    assert outcome(method="POST", host="api.example.com") == "tier_denied"
    assert outcome(resource="invoices", method="POST") == ""
    assert outcome(resource="invoices", method="DELETE") == "tier_denied"


def test_a_rule_is_validated_like_a_permission(free):
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


def test_nothing_is_charged_for_what_the_tier_denies(verify, key, free):
    narrow(free, "* /orders")
    for _ in range(3):
        assert verify(key=key.secret, method="GET", path="/reports")["limits"] == []
    assert verify(key=key.secret, method="GET", path="/orders")["limits"][0]["remaining"] == 99
