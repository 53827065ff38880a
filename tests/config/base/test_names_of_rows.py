"""`str()` of every model."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.apps import apps

from accounts.models import BulkChange, BulkStep, ListSetting, SavedView, User
from apikeys.models import (
    APIKey,
    EndpointHour,
    ExpiryNotice,
    FoldState,
    GatewayTest,
    ImportedKey,
    Job,
    KeyDay,
    KeyFormat,
    KeyPermission,
    KeyUsage,
    LimitHour,
    TouchedHour,
    UsageHour,
)
from ratelimits.models import Balance, Denial, Outage, RateLimit
from tiers.models import Tier, TierAccess

HOUR = datetime(2026, 3, 14, 15, tzinfo=UTC)
KEY = APIKey(name="nightly export", prefix="gate_Ab3dE1", last4="9xYz")
NAMES = [
    (User(username="ada"), "ada"),
    (ListSetting(user=User(username="ada"), page="users:list"), "ada: users:list"),
    (SavedView(name="on trial"), "on trial"),
    (BulkChange(title="Delete 12,000 users"), "Delete 12,000 users: waiting"),
    (BulkStep(change_id=7, users=[1, 2]), "7: 2"),
    (Tier(name="pro"), "pro"),
    (RateLimit(name="all orders"), "all orders"),
    (Denial(owner="user:7", name="all orders"), "user:7 at all orders"),
    (Balance(key="user:7/3", used=120), "user:7/3: 120"),
    (Outage(store="redis", node="web-1, process 42"), "redis unavailable to web-1, process 42"),
    (KEY, "nightly export (gate_Ab3dE1…9xYz)"),
    (KeyPermission(action="read", resource="/orders/*"), "read /orders/*"),
    (KeyUsage(method="GET", endpoint="/orders", status_code=200), "GET /orders → 200"),
    (ExpiryNotice(api_key=KEY, days=7), "nightly export (gate_Ab3dE1…9xYz): 7 days"),
    (UsageHour(hour=HOUR, requests=3), "2026-03-14 15h: 3"),
    (EndpointHour(hour=HOUR, method="GET", endpoint="/orders", requests=3), "2026-03-14 15h GET /orders: 3"),
    (LimitHour(hour=HOUR, requests=3), "2026-03-14 15h: 3"),
    (KeyDay(day=HOUR.date(), requests=3), "2026-03-14: 3"),
    (GatewayTest(host="api.example.com", passed=False), "api.example.com: failed"),
    (Job(name="fold_usage"), "fold_usage"),
    (ImportedKey(api_key=KEY), "nightly export (gate_Ab3dE1…9xYz)"),
    (KeyFormat(pattern="fai_*"), "fai_*"),
    (TierAccess(resource="/orders/*", action="read"), "read /orders/*"),
    (TouchedHour(hour=HOUR), "2026-03-14 15h"),
    (FoldState(folded_before=HOUR), "folded before 2026-03-14 15:00:00+00:00, pruned before None"),
]


@pytest.mark.parametrize(("row", "name"), NAMES, ids=lambda value: type(value).__name__)
def test_str(row, name):
    assert str(row) == name


def test_every_model_is_listed():
    ours = {
        model
        for app in ("tiers", "accounts", "ratelimits", "apikeys")
        for model in apps.get_app_config(app).get_models()
    }
    assert ours == {type(row) for row, _ in NAMES}
