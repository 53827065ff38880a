"""Run the whole suite on SQLite and on PostgreSQL, side by side. `python -m tests.run [pytest arguments]`, or `make test`.

TEST_POSTGRES_URL names a PostgreSQL whose role may create databases. If it does not answer, that half is skipped with a
notice, unless REQUIRE_SERVICES=1 says that nothing may be skipped. TEST_REDIS_URL names the Redis database of the half on
SQLite; the other half uses the next one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import IO

import psycopg

from tests.services import DEFAULT_REDIS_URL

DEFAULT_POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432/gatehouse"
# Browsers and gateways do not notice which database is behind the pages: they run once.
ONCE = "not browser and not gateway"


def main() -> int:
    arguments = sys.argv[1:]
    redis_url = os.environ.get("TEST_REDIS_URL", DEFAULT_REDIS_URL)
    postgres_url = os.environ.get("TEST_POSTGRES_URL", DEFAULT_POSTGRES_URL)
    with tempfile.TemporaryFile() as output:
        other = None
        if reachable(postgres_url):
            # Its output waits until the first half has shown its own.
            other = pytest(["-m", ONCE, *arguments], "postgresql", postgres_url, next_database(redis_url), output)
        print("=== The suite on SQLite", flush=True)
        code = pytest(arguments, "sqlite", "", redis_url).wait()
        if other is not None:
            print("\n=== The suite on PostgreSQL", flush=True)
            code = max(code, other.wait())
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout.buffer)
            return code
    print(
        f"\n!!! SKIPPED: the suite on PostgreSQL. No server answers at {postgres_url}.\n"
        "!!! Start one, or set TEST_POSTGRES_URL to one whose role may create databases.",
        flush=True,
    )
    return code or (1 if os.environ.get("REQUIRE_SERVICES") else 0)


def pytest(
    arguments: list[str], name: str, database_url: str, redis_url: str, output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TEST_DATABASE_URL": database_url,
        "TEST_REDIS_URL": redis_url,
        "COVERAGE_FILE": f".coverage.{name}",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )


def next_database(redis_url: str) -> str:
    return re.sub(r"(\d+)$", lambda number: str(int(number[1]) + 1), redis_url)


def reachable(url: str) -> bool:
    """Whether a server answers at `url`; the database itself need not exist."""
    server = psycopg.conninfo.conninfo_to_dict(url) | {"dbname": "postgres", "connect_timeout": 3}
    try:
        psycopg.connect(**server).close()
    except psycopg.OperationalError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
