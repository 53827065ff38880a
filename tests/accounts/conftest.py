from __future__ import annotations

import pytest

from ratelimits.limiter import forget_limiter, limiter
from tests.accounts.people import signed_in
from tests.services import redis_url


@pytest.fixture(autouse=True)
def empty_counters(settings):
    """Start each test with empty counters."""
    settings.RATE_LIMIT_STORE = "memory"
    forget_limiter()
    yield
    forget_limiter()


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def any_store(request, settings):
    """Run the test once with each store."""
    settings.RATE_LIMIT_STORE = request.param
    if request.param == "redis":
        settings.REDIS_URL = redis_url()
    forget_limiter()
    limiter().store.clear()


@pytest.fixture
def alice_client(alice):
    return signed_in(alice)


@pytest.fixture
def media_folder(settings, tmp_path):
    """The pictures that a test uploads."""
    settings.MEDIA_ROOT = tmp_path


# Fixtures for tests that sign in through an identity provider.
from tests.accounts.signin.oauth_steps import provider, running_provider  # noqa: E402, F401
