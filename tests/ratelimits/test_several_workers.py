"""Several gunicorn workers share one budget and allow exactly as many requests as the limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.apikeys.gateway.servers import call, gatehouse

LIMIT = 50


@pytest.fixture
def port(transactional_db, tmp_path):
    limits = {"RATE_LIMITED_PATHS": "/", "DEFAULT_RATE_LIMIT_LIMIT": LIMIT, "DEFAULT_RATE_LIMIT_PERIOD": 36_000}
    environment = {name: str(value) for name, value in limits.items()}
    with gatehouse(tmp_path, workers=2, **environment) as process:
        yield process.port


def test_workers_share_one_budget(port):
    with ThreadPoolExecutor(8) as clients:
        statuses = list(clients.map(lambda _: call(port, path="/").status, range(160)))
    # The home page redirects allowed requests to sign-in.
    assert statuses.count(302) == LIMIT
    assert statuses.count(429) == 160 - LIMIT
