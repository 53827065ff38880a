from __future__ import annotations

import pytest

from ratelimits.limiter import forget_limiter


@pytest.fixture(autouse=True)
def fresh_budgets(settings):
    """Each test begins with nothing counted; tests of the throttle choose another store themselves."""
    settings.RATE_LIMIT_STORE = "memory"
    forget_limiter()
    yield
    forget_limiter()


# The fixtures of tests that sign in through a provider.
from tests.accounts.signin.oauth_steps import provider, running_provider  # noqa: E402, F401
