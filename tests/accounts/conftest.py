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
