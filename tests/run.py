"""Run the whole suite: `python -m tests.run [pytest arguments]`, or `make test`.

Three parts run side by side: tests that depend on the database, on SQLite and on PostgreSQL, and all other tests once. A third
of the time is spent waiting for browsers and servers, so on two cores, three parts take less time than two.

TEST_POSTGRES_URL names a PostgreSQL server and a role that can create databases. If the server doesn't answer, that part is
skipped with a notice, or fails if REQUIRE_SERVICES=1 is set. TEST_REDIS_URL names the Redis database of the first part. The
others use the next two.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile

import psycopg

from tests.services import DEFAULT_REDIS_URL

DEFAULT_POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432/gatehouse"
NO_TESTS = 5  # pytest's exit code when no test was collected


def main() -> int:
    redis_url = os.environ.get("TEST_REDIS_URL", DEFAULT_REDIS_URL)
    postgres_url = os.environ.get("TEST_POSTGRES_URL", DEFAULT_POSTGRES_URL)
    parts = [Part("other", "other", "", next_database(redis_url, 2))]
    if has_postgresql := reachable(postgres_url):
        parts.append(Part("database", "postgresql", postgres_url, next_database(redis_url, 1)))
    print("=== sqlite", flush=True)
    codes = [Part("database", "sqlite", "", redis_url, hidden=False).wait(), *(part.wait() for part in parts)]
    if not has_postgresql:
        print(
            f"\n!!! SKIPPED: the part on PostgreSQL. No server answers at {postgres_url}.\n"
            "!!! Start one, or set TEST_POSTGRES_URL to one with a role that can create databases.",
            flush=True,
        )
        codes.append(1 if os.environ.get("REQUIRE_SERVICES") else 0)
    # A file named on the command line might have no test in one part.
    return max((code for code in codes if code != NO_TESTS), default=NO_TESTS)


class Part:
    """A part of the suite in its own process. hidden: show its output when it ends, not while it runs."""

    def __init__(self, part: str, name: str, database_url: str, redis_url: str, *, hidden: bool = True) -> None:
        self.name = name
        self.output = tempfile.TemporaryFile() if hidden else None  # noqa: SIM115  (read in `wait`)
        environment = os.environ | {
            "TEST_DATABASE_URL": database_url,
            "TEST_REDIS_URL": redis_url,
            "COVERAGE_FILE": f".coverage.{name}",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--part", part, *sys.argv[1:]],
            env=environment,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> int:
        code = self.process.wait()
        if self.output:
            print(f"\n=== {self.name}", flush=True)
            self.output.seek(0)
            shutil.copyfileobj(self.output, sys.stdout.buffer)
            sys.stdout.flush()
        return code


def next_database(redis_url: str, further: int) -> str:
    return re.sub(r"(\d+)$", lambda number: str(int(number[1]) + further), redis_url)


def reachable(url: str) -> bool:
    """Whether a server answers at `url`. The database doesn't have to exist."""
    server = psycopg.conninfo.conninfo_to_dict(url) | {"dbname": "postgres", "connect_timeout": 3}
    try:
        psycopg.connect(**server).close()
    except psycopg.OperationalError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
