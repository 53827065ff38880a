from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def fresh_budgets():
    from ratelimits import limiter
    limiter.STATE.clear()
