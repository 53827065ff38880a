"""Django's DATABASES entry: DATABASE_URL, else the FastAPI starter's POSTGRES_*, else SQLite in VAR_DIR."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import environ

from config.base.files import create_private
from config.environment import Environment

SCHEMES = ("postgres", "postgresql", "psql", "pgsql", "sqlite")


def database(env: Environment, var_dir: Path) -> dict[str, Any]:
    url = env.address("DATABASE_URL", SCHEMES)
    parsed: dict[str, Any] = environ.Env.db_url_config(url) if url else postgres_variables(env)
    if not parsed:
        return sqlite(str(var_dir / "gatehouse.sqlite3"), var_dir)
    if parsed["ENGINE"] == "django.db.backends.sqlite3":
        return sqlite(str(parsed["NAME"]), var_dir)
    return postgres(parsed, env.number("POSTGRES_POOL_SIZE", default=0, smallest=0, largest=1_000))


def postgres_variables(env: Environment) -> dict[str, Any]:
    server, name = env.str("POSTGRES_SERVER", default=""), env.str("POSTGRES_DB", default="")
    if not (server or name):
        return {}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name or "postgres",
        "USER": env.str("POSTGRES_USER", default="postgres"),
        "PASSWORD": env.filled("POSTGRES_PASSWORD"),
        "HOST": server or "localhost",
        "PORT": env.number("POSTGRES_PORT", default=5432, smallest=1, largest=65_535),
    }


def sqlite(name: str, var_dir: Path) -> dict[str, Any]:
    var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if name != ":memory:":
        create_private(Path(name))
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        # WAL allows readers beside one writer. IMMEDIATE takes the write lock at BEGIN, where it can wait; a read followed by
        # a write would fail at once with "database is locked" in the default mode.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # A checkpoint every 16 MB of WAL instead of every 4: by default, usage rows would cause one every 200 requests,
            # and each delays its request by some 5 ms.
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000; "
                "PRAGMA wal_autocheckpoint=4000;"
            ),
        },
        "CONN_MAX_AGE": 60,
        "TEST": {"NAME": str(var_dir / f"test-{os.getpid()}.sqlite3")},
    }


def postgres(parsed: dict[str, Any], pool_size: int) -> dict[str, Any]:
    options = dict(parsed.get("OPTIONS", {}))
    if pool_size:
        options["pool"] = {"min_size": 1, "max_size": pool_size, "timeout": 5}
    # The pool requires CONN_MAX_AGE=0. Without a pool, a connection is kept for a minute and checked before use, which
    # survived a restart of PostgreSQL without an error.
    return parsed | {
        "OPTIONS": options,
        "CONN_MAX_AGE": 0 if pool_size else 60,
        "CONN_HEALTH_CHECKS": True,
    }
