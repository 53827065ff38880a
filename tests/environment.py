"""A pytest plugin (see pyproject.toml) that sets environment variables before Django's settings are read.

TEST_DATABASE_URL selects the database (default: SQLite). Your own environment and .env have no effect.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

REMOVED = ("POSTGRES_", "ADMIN_", "OAUTH_", "DEFAULT_", "GATEWAY_", "RATE_", "API_KEY_")
KEPT = ("TEST_", "REQUIRE_")

for name in list(os.environ):
    if name.startswith(REMOVED) and not name.startswith(KEPT):
        del os.environ[name]

VAR_DIR = Path(tempfile.mkdtemp(prefix="gatehouse-tests-"))
(VAR_DIR / "static").mkdir()

os.environ.update(
    ENV_FILE=os.devnull,
    DEBUG="true",
    SECRET_KEY="only-for-tests-" + "x" * 50,
    API_KEY_PEPPERS="only-for-tests-pepper-" + "y" * 30,
    ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL", ""),
    REDIS_URL="",
    RATE_LIMIT_STORE_TIMEOUT="5000",  # so that a slow test machine isn't an outage; tests of outages use the real 40 ms
    EMAIL_URL="memorymail://",
    VAR_DIR=str(VAR_DIR),
    DJANGO_ALLOW_ASYNC_UNSAFE="true",  # Playwright's event loop runs in the test's thread
)
