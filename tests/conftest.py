"""The cast that every test shares: Alice holds keys, Bob holds others, Charlie is an outsider; Sue is a superuser."""

from __future__ import annotations

from contextlib import suppress

import pytest

from accounts.models import User
from accounts.signin.hashers import OWASPArgon2PasswordHasher
from ratelimits import limiter as limiter_module
from ratelimits.limiter import made_limiter
from ratelimits.rules import forget_rules
from ratelimits.stores import StoreUnavailable
from tiers.models import Tier

# Hundreds of tests make people: the same algorithm, with costs of a thousandth. tests/accounts/signin/test_hashers.py reads the
# real ones.
OWASP_COSTS = (OWASPArgon2PasswordHasher.time_cost, OWASPArgon2PasswordHasher.memory_cost)
OWASPArgon2PasswordHasher.time_cost, OWASPArgon2PasswordHasher.memory_cost = 1, 8

# A sweep comes at random and goes by the real clock: it would take the counters of a test with a clock of its own.
limiter_module.SWEEP_EVERY = 1_000_000_000


@pytest.fixture(autouse=True)
def nothing_counted_yet():
    """Counters live outside the test's transaction, and rules stay compiled for seconds: both are forgotten after a test."""
    yield
    forget_rules()
    used = made_limiter()
    if used is not None:
        with suppress(StoreUnavailable):
            used.store.clear()
        # Its own connection would keep PostgreSQL from dropping the test database.
        used.store.close()


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


# The fixtures of tests that drive a real browser.
from tests.chromium import chromium, visit  # noqa: E402, F401
