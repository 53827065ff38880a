"""Compare the cost of decisions with a million keys and ten million usage rows to a thousand of each. PostgreSQL only.

    python -m benchmarks.many_keys --database postgres://…

Compares the processor time of `decide_many` in turns with two databases, NAME_few and NAME_many next to the given NAME. They're
created if missing, which takes minutes for the large one, and kept: drop them when you're done. `--keys` and `--rows` create smaller
ones. The role must be a superuser, because rows are copied without triggers and foreign key checks.

Writes benchmarks/results/many_keys.json, and the table in docs/decision.md from it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.decision_loop import SIZES, compare, deciding, warm_up
from benchmarks.report import ROOT, remember, write_comparison

FEW = 1_000
KEYS_OF_A_USER = 10
AT_ONCE = 500_000
# Higher than all existing ids. {n} is the number of the copy.
ID = "1000000000 + {n}"
COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'"
USERS = {"id": ID, "username": "'many_' || {n}", "email": "'many_' || {n} || '@example.com'"}
KEYS = {
    "id": "md5('key' || {n})::uuid",
    "user_id": "1000000000 + {n} / " + str(KEYS_OF_A_USER),
    "secret_hash": "md5('a' || {n}) || md5('b' || {n})",
    "last4": "right(md5('a' || {n}), 4)",
}
PERMISSIONS = {"id": ID, "api_key_id": "md5('key' || {n})::uuid"}
# In the last 20 days, sorted by time, as ids are.
USAGE = {
    "id": "lpad(to_hex({n}), 32, '0')::uuid",
    "created_at": "now() - interval '20 days' * ({rows} - {n}) / {rows}",
    "api_key_id": "md5('key' || {n} / {share})::uuid",
    "user_id": "1000000000 + {n} / {share} / " + str(KEYS_OF_A_USER),
}


def main() -> None:
    options = parse_arguments()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sizes = {"few": (FEW, FEW), "many": (options.keys, options.rows)}
        loops = {}
        for name, (keys, rows) in sizes.items():
            url = database_beside(options.database, name)
            loops[name] = stack.enter_context(deciding(ROOT, url, "", directory / name))
            fill(url, keys, rows)
        for loop in loops.values():
            warm_up(loop)
        rows = []
        for size in SIZES:
            for loop in loops.values():
                vacuum(loop.database)
            rows.append(compare(loops["many"], loops["few"], size, options.rounds))
    size = f"{options.keys:,} keys, {options.rows:,} usage rows"
    write_comparison("many_keys", "many | 1,000 of each", remember("many_keys", size, rows))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="DATABASE_URL")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    return parser.parse_args()


def database_beside(url: str, name: str) -> str:
    """The URL of a database named after the one in `url`, which is created if it's missing."""
    server, _, database = url.rpartition("/")
    name = f"{database}_{name}"
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{server}/{name}"


def fill(url: str, keys: int, rows: int) -> None:
    """Copy a row of each table until there are this many, unless that was done before."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        if connection.execute("SELECT FROM api_keys WHERE id = md5('key' || 1)::uuid").fetchone() is None:
            with connection.transaction():  # so that nothing remains if this is interrupted
                copy(connection, "user", USERS, keys // KEYS_OF_A_USER + 1)
                copy(connection, "api_keys", KEYS, keys)
                copy(connection, "key_permissions", PERMISSIONS, keys)
                copy(connection, "key_usage", USAGE, rows, rows=rows, share=max(1, rows // keys))
            connection.execute("VACUUM ANALYZE")


def vacuum(url: str) -> None:
    """As autovacuum does, which may be off or too slow for these loops."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM rate_counters")


def copy(
    connection: psycopg.Connection[Any], table: str, changes: Mapping[str, str], count: int, **values: int
) -> None:
    columns = [name for (name,) in connection.execute(COLUMNS, [table])]
    made = [changes.get(name, f't."{name}"').format(n="n", **values) for name in columns]
    statement = sql.SQL(
        "INSERT INTO {} ({}) SELECT {} FROM (SELECT * FROM {} LIMIT 1) t, generate_series(%s::bigint, %s) n"
    ).format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.SQL, made)),
        sql.Identifier(table),
    )
    for first in range(1, count + 1, AT_ONCE):
        connection.execute(statement, [first, min(count, first + AT_ONCE - 1)])
        print(f"{table}: {min(count, first + AT_ONCE - 1):,} of {count:,}", flush=True)


if __name__ == "__main__":
    main()
