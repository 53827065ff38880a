"""Run the whole suite: on SQLite, then on PostgreSQL. `python -m tests.run [pytest arguments]`, or `make test`.

TEST_POSTGRES_URL names a PostgreSQL whose role may create databases. If it does not answer, that half is skipped with a
notice, unless REQUIRE_SERVICES=1 says that nothing may be skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg

DEFAULT_POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432/gatehouse"
# Browsers and gateways do not notice which database is behind the pages: they run once.
ONCE = "not browser and not gateway"


def main() -> int:
    arguments = sys.argv[1:]
    print("=== The suite on SQLite", flush=True)
    code = pytest(arguments, "")
    url = os.environ.get("TEST_POSTGRES_URL", DEFAULT_POSTGRES_URL)
    if reachable(url):
        print("\n=== The suite on PostgreSQL", flush=True)
        return max(code, pytest(["-m", ONCE, *arguments], url))
    print(
        f"\n!!! SKIPPED: the suite on PostgreSQL. No server answers at {url}.\n"
        "!!! Start one, or set TEST_POSTGRES_URL to one whose role may create databases.",
        flush=True,
    )
    return code or (1 if os.environ.get("REQUIRE_SERVICES") else 0)


def pytest(arguments: list[str], database_url: str) -> int:
    environment = os.environ | {"TEST_DATABASE_URL": database_url}
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment, check=False).returncode


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
