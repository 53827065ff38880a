"""With ANONYMOUS_TIER, a request without a key gets that tier's access, and its limits count by client address."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import MISSING, Credential
from apikeys.decision.decide import decide_many
from apikeys.models import KeyUsage
from apikeys.secrets import new_secret
from config.checks import anonymous_tier_exists
from ratelimits.limiter import Limiter
from tests.apikeys.conftest import make_key
from tests.rows import make_limit
from tiers.models import Tier, TierAccess

IDENTITY = ("X-Auth-User-Id", "X-Auth-Username", "X-Auth-Tier", "X-Auth-Key-Id", "X-Auth-Event-Id")


@pytest.fixture
def public(counters, settings):
    """The tier of requests without a key: two requests a minute to /orders."""
    settings.ANONYMOUS_TIER = "public"
    tier = Tier.objects.create(name="public")
    make_limit(tier, "/orders", name="public orders", limit=2, period=60)
    return tier


def test_request_without_key_is_allowed_until_rate_limited(ask, public):
    for remaining in ("1", "0"):
        response = ask()
        assert (response.status_code, response["X-RateLimit-Remaining"]) == (200, remaining)
        assert [response[name] for name in IDENTITY] == [""] * 5
        assert response["RateLimit-Policy"] == '"public orders";q=2;w=60'
    response = ask()
    # nginx gets a 429 as a 403 with X-Auth-Status.
    assert (response.status_code, response["X-Auth-Status"], response["X-Auth-Reason"]) == (403, "429", "rate_limited")
    assert int(response["Retry-After"]) >= 1
    assert not KeyUsage.objects.exists()


def test_addresses_and_ipv6_networks_have_separate_budgets(ask, public):
    def uses_up_its_budget(address):
        return [ask(address=address).status_code for _ in range(3)] == [200, 200, 403]

    assert uses_up_its_budget("203.0.113.9")
    assert uses_up_its_budget("203.0.113.10")
    assert uses_up_its_budget("2001:db8::1")
    assert ask(address="2001:db8::2").status_code == 403
    assert ask(address="2001:db8:0:1::1").status_code == 200
    assert uses_up_its_budget("")
    assert ask(address="nowhere").status_code == 403


def test_invalid_key_is_denied_and_not_charged_to_the_address(ask, public, alice):
    assert ask(new_secret()).status_code == 401
    assert ask("nonsense").status_code == 401
    assert ask("").status_code == 401
    assert ask(uri=f"/orders?api_key={new_secret()}").status_code == 401
    revoked = make_key(alice)
    type(revoked).objects.filter(pk=revoked.pk).revoke("leaked")
    assert ask(revoked.secret)["X-Auth-Reason"] == "revoked_key"
    # None of them was charged to the address.
    assert [ask().status_code for _ in range(3)] == [200, 200, 403]


def test_request_outside_the_tiers_access_needs_a_key(ask, public, alice):
    public.access.update(resource="/orders")
    response = ask(uri="/reports")
    assert (response.status_code, response["X-Auth-Reason"]) == (403, "tier_denied")
    assert response.json()["detail"].startswith("This request needs an API key.")
    assert ask(make_key(alice).secret, uri="/reports").status_code == 200
    assert ask().status_code == 200
    public.access.all().delete()
    assert ask().status_code == 403
    TierAccess.objects.create(tier=public, action="read", resource="/orders", host="api.example.com")
    assert ask(**{"X-Original-Host": "sandbox.example.com"})["X-Auth-Reason"] == "tier_denied"
    assert ask(**{"X-Original-Host": "api.example.com"}).status_code == 200


def test_ambiguous_path_without_key_is_denied(ask, public):
    assert ask(uri="/a/../b")["X-Auth-Reason"] == "ambiguous_path"


def test_verify_returns_the_tier(verify, public):
    answer = verify(method="GET", path="/orders", ip="203.0.113.9")
    assert (answer["allowed"], answer["status"], answer["reason"]) == (True, 200, "")
    assert (answer["key"], answer["user"], answer["event_id"]) == (None, None, None)
    assert answer["tier"] == {"id": public.pk, "name": "public"}
    assert [(limit["name"], limit["remaining"]) for limit in answer["limits"]] == [("public orders", 1)]


def test_views_that_require_a_key_still_do(client, public):
    assert client.get("/api/v1/whoami").status_code == 401


@pytest.mark.parametrize("name", ["", "unknown", "gone"])
def test_key_is_needed_if_the_tier_does_not_exist(ask, public, settings, name):
    Tier.objects.create(name="gone").delete()
    settings.ANONYMOUS_TIER = name
    assert ask()["X-Auth-Reason"] == "missing_key"


def test_requests_with_and_without_a_key_share_a_batch(public, alice):
    key = make_key(alice)
    facts = {"method": "GET", "path": "/orders", "address": "203.0.113.9"}
    asked = [Facts(MISSING, **facts), Facts(Credential(key.secret), **facts), Facts(Credential(new_secret()), **facts)]
    verdicts = decide_many([*asked, Facts(MISSING, **facts, needs_key=True), *asked[:1] * 2])
    assert [verdict.reason for verdict in verdicts] == ["", "", "unknown_key", "missing_key", "", "rate_limited"]
    assert [verdict.key is not None for verdict in verdicts] == [False, True, False, False, False, False]
    assert KeyUsage.objects.get().api_key == key


def test_failure_to_charge_an_address_does_not_charge_keys_twice(public, alice, monkeypatch):
    key = make_key(alice)
    facts = {"method": "GET", "path": "/orders", "address": "203.0.113.9"}
    original = Limiter.hit_many

    def broken(limiter, charges, **options):
        if any(budget.key.startswith("addr:") for charge in charges for budget in charge.budgets):
            raise RuntimeError("broken")
        return original(limiter, charges, **options)

    monkeypatch.setattr(Limiter, "hit_many", broken)
    without, with_key = decide_many([Facts(MISSING, **facts), Facts(Credential(key.secret), **facts)])
    assert (without.status, without.allowed) == (503, False)
    assert (with_key.status, with_key.outcome.states[0].remaining) == (200, 99)
    assert KeyUsage.objects.count() == 1


def errors():
    return [message for message in run_checks() if message.id == "gatehouse.E040"]


def test_unknown_tier_name_fails_the_system_check(public, settings):
    assert errors() == []
    settings.ANONYMOUS_TIER = "unknown"
    assert "“unknown”" in errors()[0].msg
    settings.ANONYMOUS_TIER = ""
    assert errors() == []


def test_system_check_skips_the_name_without_a_database(public, settings):
    def fail(*args):
        raise OperationalError("no such table: tiers")

    settings.ANONYMOUS_TIER = "unknown"
    with connection.execute_wrapper(fail):
        assert list(anonymous_tier_exists(None)) == []
    assert len(errors()) == 1


def test_tier_cannot_be_deleted_or_renamed(public):
    with pytest.raises(ValidationError, match="Requests without a key use the tier “public”"):
        Tier.objects.filter(pk=public.pk).refuse_default()
    public.name = "renamed"
    with pytest.raises(ValidationError, match="Set ANONYMOUS_TIER to another tier"):
        public.full_clean()


def test_explain_supports_requests_without_a_key(staff_client, public):
    def explain(**question):
        sent = {"key": "", "method": "GET", "path": "/orders", "host": "", "address": "203.0.113.9", **question}
        return staff_client.post("/admin/apikeys/explain/", sent)

    response = explain()
    explanation = response.context["explanation"]
    assert explanation.allowed
    assert [check.title for check in explanation.checks if check.result == "passed"] == [
        "Credentials are present",
        "The path is unambiguous",
        "The tier has access",
        "No rate limit is exceeded",
    ]
    assert [state.budget.name for state in explanation.limits] == ["public orders"]
    assert "No API key, tier public." in response.text
    public.access.update(resource="/orders")
    assert explain(path="/reports").context["explanation"].reason == "tier_denied"
    assert "The tier public has access to: * /orders." in explain(path="/reports").text
    assert explain(path="/a/../b").context["explanation"].reason == "ambiguous_path"
