"""Services that some tests need. Without them, these tests are skipped, or fail if REQUIRE_SERVICES=1 is set."""

from __future__ import annotations

import os

import pytest
import redis

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/2"


def require(available: object, advice: str) -> None:
    """Skip or fail the test unless the service is available. `advice` says what to install or start."""
    if not available:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(advice)
        pytest.skip(advice)


def redis_url() -> str:
    """The URL of this test run's Redis database. Skip the test if no server answers."""
    url = os.environ.get("TEST_REDIS_URL", DEFAULT_REDIS_URL)
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1) as client:
            client.ping()
    except redis.RedisError:
        require(False, f"No Redis or Valkey answers at {url}: start redis-server, or set TEST_REDIS_URL.")
    return url
