"""The cast that every test shares: Alice holds keys, Bob holds others, Charlie is an outsider; Sue is a superuser."""

from __future__ import annotations

from contextlib import suppress

import pytest

from accounts.models import User
from ratelimits.limiter import made_limiter
from ratelimits.rules import forget_rules
from ratelimits.stores import StoreUnavailable
from tiers.models import Tier


@pytest.fixture(autouse=True)
def nothing_counted_yet():
    """Counters live outside the test's transaction, and rules stay compiled for seconds: both are forgotten after a test."""
    yield
    forget_rules()
    used = made_limiter()
    if used is not None:
        with suppress(StoreUnavailable):
            used.store.clear()


@pytest.fixture
def free(db):
    return Tier.objects.get_or_create(name="free")[0]


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
