"""What if agrees with decisions: real decisions and reports with a fake clock create usage, which is then replayed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import decide
from apikeys.gateway import usage_report
from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.tools.what_if import replay
from ratelimits.budgets import microseconds
from ratelimits.limiter import Limiter
from ratelimits.models import Balance, RateLimit
from ratelimits.rules import forget_rules
from ratelimits.stores.memory import MemoryStore
from tests.rows import make_key
from tiers.models import TierAccess

TODAY = datetime(2028, 3, 15, 12, 0, tzinfo=UTC)
LONG_AGO = TODAY - timedelta(days=400)
API, SANDBOX = "api.example.com", "sandbox.example.com"


@pytest.fixture
def clock(monkeypatch):
    """The time for decisions, reports and counters."""

    class Clock:
        now = TODAY

    limiter = Limiter(MemoryStore())
    monkeypatch.setattr("django.utils.timezone.now", lambda: Clock.now)
    for place in ("memory", "balances"):
        monkeypatch.setattr(f"ratelimits.stores.{place}.machine_clock", lambda: microseconds(Clock.now))
    monkeypatch.setattr("apikeys.decision.ledger.limiter", lambda: limiter)
    # Its rows would refer to limits of earlier examples.
    monkeypatch.setattr("ratelimits.recorder.recorder.record", lambda outcome: None)
    Clock.limiter = limiter
    return Clock


WINDOWS = st.one_of(
    st.tuples(st.just("rolling"), st.sampled_from([60, 3600])),
    st.tuples(st.just("fixed"), st.sampled_from([3600, 86_400])),
    st.tuples(st.sampled_from(["week", "month", "total"]), st.just(60)),
)
PATTERNS = st.tuples(
    st.sampled_from(["/orders", "/orders/{id}", "/*", "/reports"]),
    st.sampled_from(["", "", "GET"]),
    st.sampled_from(["", "", API, "*.example.com"]),
)
LIMITS = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(["free", "pro", "alice"]),
        "pattern": PATTERNS,
        "window": WINDOWS,
        "limit": st.integers(1, 6),
        "unit": st.sampled_from(["requests", "requests", "tokens", "microcents"]),
        "overall": st.booleans(),
        "mode": st.sampled_from(["enforce", "enforce", "observe"]),
        "ends_days_ago": st.none() | st.integers(-3, 12),
    }
)
# All at about the same time of day, so that short windows are empty again when the replayed period starts.
TIMES = st.builds(
    lambda days, seconds: TODAY - timedelta(days=days, hours=3, seconds=-seconds),
    st.sampled_from([0, 1, 2, 6, 7, 8, 20]),
    st.integers(0, 120),
)
REQUESTS = st.fixed_dictionaries(
    {
        "at": TIMES,
        "method": st.sampled_from(["GET", "HEAD", "POST"]),
        "path": st.sampled_from(["/orders", "/orders/7", "/reports", "reports", "/secret"]),
        "host": st.sampled_from(["", API, SANDBOX]),
        "report": st.none()
        | st.tuples(st.integers(0, 900), st.none() | st.integers(0, 5), st.none() | st.integers(0, 5)),
    }
)


def make_limits(drawn, owners):
    limits, rules = [], set()
    for fields in drawn:
        path, method, host = fields["pattern"]
        window, period = fields["window"]
        unit, owner = fields["unit"], owners[fields["owner"]]
        is_own = fields["owner"] == "alice"
        if (unit != "requests" and window == "rolling") or (window == "total" and not is_own):
            window, period = "fixed", 3600
        rule = (fields["owner"], path, method, host, window, period if window in {"rolling", "fixed"} else 0, unit)
        if rule in rules:
            continue
        rules.add(rule)
        ends = fields["ends_days_ago"] if is_own else None
        limit = RateLimit.objects.create(
            **{"user" if is_own else "tier": owner}, path=path, method=method, host=host, window=window, period=period,
            unit=unit, limit=fields["limit"], overall=fields["overall"], mode=fields["mode"],
            ends_at=None if ends is None else TODAY - timedelta(days=ends, hours=1),
        )  # fmt: skip
        limits.append(limit)
    RateLimit.objects.update(created_at=LONG_AGO)
    return list(RateLimit.objects.all())


def make_requests(clock, secret, requests):
    """Decide and report in chronological order. Returns each request's time and verdict."""
    verdicts = []
    steps = [(request["at"], 1, number, request) for number, request in enumerate(requests)]
    while steps:
        steps.sort(key=lambda step: step[:3])
        clock.now, kind, number, step = steps.pop(0)
        if kind == 0:
            usage_report.record([step])
            continue
        path = step["path"]
        named = {} if path.startswith("/") else {"resource": path, "action": "read"}
        facts = Facts(
            Credential(secret), step["method"], None if named else path, host=step["host"], **named
        )  # fmt: skip
        verdict = decide(facts)
        KeyUsage.objects.filter(pk=verdict.event_id).update(created_at=clock.now)
        verdicts.append((clock.now, verdict))
        if verdict.allowed and step["report"]:
            delay, *amounts = step["report"]
            report = dict(zip(("tokens_used", "cost_microcents"), amounts, strict=True))
            known = {name: amount for name, amount in report.items() if amount is not None}
            steps.append((clock.now + timedelta(seconds=delay), 0, number, {"event_id": verdict.event_id, **known}))
    return verdicts


def expected(verdicts, limit):
    """How many requests in the last seven days counted for the limit, and how many it denied."""
    start = TODAY - timedelta(days=7)
    states = [
        state
        for at, verdict in verdicts
        if at >= start and verdict.outcome is not None
        for state in verdict.outcome.states
        if state.budget.rule_id == limit.pk
    ]
    return len(states), sum(state.exceeded for state in states)


@given(
    drawn=st.lists(LIMITS, min_size=1, max_size=5),
    requests=st.lists(REQUESTS, max_size=30, unique_by=lambda request: request["at"]),
    billing_day=st.integers(1, 31),
    on_pro_days_ago=st.none() | st.integers(-2, 12),
    key_limit=st.none() | st.tuples(st.integers(1, 4), WINDOWS.filter(lambda window: window[0] != "total")),
    access=st.sampled_from([["* *"], ["* /orders/*", "* reports", "read /reports"], ["* /* at *.example.com"]]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_if_agrees_with_decisions(
    clock, alice, free, pro, drawn, requests, billing_day, on_pro_days_ago, key_limit, access
):
    for model in (KeyUsage, RateLimit, Balance, KeyPermission, APIKey, TierAccess):
        model._default_manager.all()._raw_delete("default")
    clock.limiter.store.clear()
    forget_rules()
    for tier in (free, pro):
        for rule in access:
            action, resource, host = [*rule.replace(" at ", " ").split(), ""][:3]
            TierAccess.objects.create(tier=tier, action=action, resource=resource, host=host)
    alice.billing_day, alice.tier, alice.tier_until = billing_day, free, None
    if on_pro_days_ago is not None:
        alice.tier, alice.tier_until = pro, TODAY - timedelta(days=on_pro_days_ago, hours=1)
    alice.save()
    key = make_key(alice)
    if key_limit:
        limit, (window, period) = key_limit
        APIKey.objects.filter(pk=key.pk).update(rate_limit=limit, rate_window=window, rate_period=period)
    limits = make_limits(drawn, {"free": free, "pro": pro, "alice": alice})
    verdicts = make_requests(clock, key.secret, requests)
    clock.now = TODAY
    for limit in limits:
        if limit.mode == "enforce":
            found = replay(limit)
            assert (found.requests, found.denied_requests) == expected(verdicts, limit), limit
