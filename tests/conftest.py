"""Fixtures for all tests. Alice, Bob and Charlie are users, and Sue is a superuser."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from accounts.models import User
from accounts.signin.hashers import OWASPArgon2PasswordHasher
from apikeys.secrets.foreign import accept
from config.base import database as base_database
from ratelimits import limiter as limiter_module
from ratelimits.recorder import OutageRecorder, recorder
from ratelimits.rules import forget_rules
from ratelimits.stores import StoreUnavailable
from tests.emptying import replace_flush
from tests.waiting import wait_until
from tiers.models import Tier

replace_flush()

# Hashing with the real parameters would be slow. tests/accounts/signin/test_hashers.py checks them.
OWASP_COSTS = (OWASPArgon2PasswordHasher.time_cost, OWASPArgon2PasswordHasher.memory_cost)
OWASPArgon2PasswordHasher.time_cost, OWASPArgon2PasswordHasher.memory_cost = 1, 8

# A test can be one transaction that waits for another process longer than a page would.
IDLE_LIMIT, base_database.IDLE_LIMIT = base_database.IDLE_LIMIT, "0"

# Sweeps are random and use the real clock, so they would remove counters of tests that set the time.
limiter_module.SWEEP_EVERY = 1_000_000_000

# A thread writes outages over its own connection, so a test's transaction wouldn't roll them back. Tests of outages commit,
# and use `outages_written`.
write_outage = OutageRecorder.start
OutageRecorder.start = lambda outage: None


@pytest.fixture(autouse=True)
def clear_global_state():
    """Clear what isn't rolled back with the test: counters, denials not yet recorded, compiled rules, formats of secrets."""
    yield
    forget_rules()
    accept([])
    recorder.forget()
    for used in limiter_module._limiters:
        with suppress(StoreUnavailable):
            used.store.clear()
        # The limiter's own connection would prevent PostgreSQL from dropping the test database.
        used.store.close()


@pytest.fixture
def outages_written(monkeypatch):
    """Let the thread write outages of the limiter's store, and wait until it ends."""
    monkeypatch.setattr(OutageRecorder, "start", write_outage)
    yield
    wait_until(lambda: "rate-limit-outage-recorder" not in {thread.name for thread in threading.enumerate()})


@pytest.fixture
def short_formsets(monkeypatch):
    """Limit formsets to 5 rows, because rendering Django's 1,000 takes seconds."""
    monkeypatch.setattr("django.forms.formsets.DEFAULT_MAX_NUM", 5)


@pytest.fixture
def small_demo(monkeypatch, db):
    """`manage.py demo` creates a few rows instead of tens of thousands."""
    monkeypatch.setattr("apikeys.tools.demo.USERS", 12)
    monkeypatch.setattr("apikeys.tools.demo.KEYS", 20)
    monkeypatch.setattr("apikeys.tools.demo_usage.DAYS", 3)
    monkeypatch.setattr("apikeys.tools.demo_usage.FAILURES", 30)


@pytest.fixture
def free(db):
    return Tier.objects.get_or_create(name="free")[0]


@pytest.fixture
def pro(db):
    return Tier.objects.create(name="pro")


def make_user(name, **fields):
    return User.objects.create_user(
        name.lower(), f"{name.lower()}@example.com", "correct horse 1", name=name.title(), **fields
    )


@pytest.fixture
def alice(free):
    return make_user("alice", tier=free)


@pytest.fixture
def bob(free):
    return make_user("bob", tier=free)


@pytest.fixture
def charlie(free):
    return make_user("charlie", tier=free)


@pytest.fixture
def sue(free):
    return make_user("sue", is_staff=True, is_superuser=True)


@pytest.fixture
def staff_client(client, sue):
    client.force_login(sue)
    return client


# Fixtures of browser tests.
from tests.chromium import chromium, visit  # noqa: E402, F401
