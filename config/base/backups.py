"""Back up and restore what Gatehouse keeps: the database, the limiter's SQLite file, and uploaded pictures.

A backup is a directory with a manifest. It's taken from a running Gatehouse, and consistent: SQLite's backup API and
pg_dump each copy one moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from config.base.files import create_private

FORMAT = 1
MANIFEST = "manifest.json"
SQLITE, DUMP, COUNTERS, MEDIA = "database.sqlite3", "database.dump", "rate-limits.sqlite3", "media"


class BackupError(Exception):
    """A backup can't be made or restored; the text says why."""


# --- Making a backup ---


def back_up(target: Path, *, var_dir: Path, media: Path) -> dict[str, Any]:
    """Write a backup to `target`, which must not exist, and return its manifest."""
    if target.exists():
        raise BackupError(f"{target} already exists. Choose another directory.")
    # An incomplete backup never has its final name.
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    rows = dump_postgresql(partial / DUMP) if connection.vendor == "postgresql" else copy_sqlite(partial / SQLITE)
    if (var_dir / COUNTERS).exists():
        with closing(sqlite3.connect(var_dir / COUNTERS)) as source:
            copy_to_file(source, partial / COUNTERS)
    if media.exists():
        shutil.copytree(media, partial / MEDIA)
    manifest = {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "database": connection.vendor,
        "rows": rows,
        "files": {name: digest(partial / name) for name in files_in(partial)},
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    partial.rename(target)
    return manifest


def copy_sqlite(target: Path) -> dict[str, int]:
    connection.ensure_connection()
    copy_to_file(connection.connection, target)
    with closing(sqlite3.connect(target)) as copied:
        return {table: copied.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables(copied)}  # noqa: S608  (names from the schema)


def copy_to_file(source: sqlite3.Connection, target: Path) -> None:
    """All pages at one moment, including those that are only in the WAL. Others can still read and write."""
    create_private(target)
    with closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # a single file, without a WAL beside it


def tables(database: sqlite3.Connection) -> list[str]:
    found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return sorted(name for (name,) in found)


def dump_postgresql(target: Path) -> dict[str, int]:
    """Returns the rows of each table, counted in the same snapshot as pg_dump's."""
    create_private(target)
    dsn, environment = address()
    with psycopg.connect(dsn, password=environment.get("PGPASSWORD")) as counting:
        counting.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        counting.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        snapshot = counting.execute("SELECT pg_export_snapshot()").fetchone()
        # Keeps partitions from being dropped until the rows are counted.
        for table in postgresql_tables(counting):
            counting.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier(table)))
        options = ["--format=custom", f"--snapshot={snapshot[0] if snapshot else ''}", f"--file={target}"]
        run("pg_dump", [*options, f"--dbname={dsn}"], environment)
        return count_rows(counting)


def address() -> tuple[str, dict[str, str]]:
    """How to reach the default database, for PostgreSQL's programs: a connection string, and their environment."""
    given: Any = connection
    options: dict[str, Any] = {
        name: value
        for name, value in given.get_connection_params().items()
        if isinstance(value, str | int) and name != "prepare_threshold"
    }
    # Not in the arguments, which every user of the machine can see.
    password = options.pop("password", "")
    return make_conninfo(**options), {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}


def count_rows(database: psycopg.Connection[Any]) -> dict[str, int]:
    counts = {}
    for table in postgresql_tables(database):
        row = database.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        counts[table] = row[0] if row else 0
    return counts


def postgresql_tables(database: psycopg.Connection[Any]) -> list[str]:
    """The names of all tables, except partitions, which belong to their table."""
    found = database.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') "
        "AND NOT relispartition ORDER BY relname"
    )
    return [name for (name,) in found]


def run(program: str, arguments: list[str], environment: dict[str, str], **options: Any) -> None:
    try:
        subprocess.run([program, *arguments], env=environment, check=True, stderr=subprocess.PIPE, **options)  # noqa: S603  (no shell)
    except FileNotFoundError:
        raise BackupError(f"{program} isn't installed. Install PostgreSQL's client programs.") from None
    except subprocess.CalledProcessError as error:
        raise BackupError(f"{program} failed: {error.stderr.decode(errors='replace').strip()[-2000:]}") from None


def files_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Restoring one ---


def restore(source: Path, *, var_dir: Path, media: Path, replace: bool = False) -> dict[str, Any]:
    """Restore the backup in `source` and return its manifest. Changes nothing if the backup is damaged.

    replace: whether data that is there already may be lost.
    """
    manifest = read_manifest(source)
    if not replace and (taken := list(what_is_there(var_dir, media))):
        raise BackupError(f"There is data already: {', '.join(taken)}. To replace it, add --replace.")
    if connection.vendor == "postgresql":
        restore_postgresql(source / DUMP)
    else:
        connection.ensure_connection()
        copy_from_file(source / SQLITE, connection.connection)
    if (source / COUNTERS).exists():
        create_private(var_dir / COUNTERS)
        with closing(sqlite3.connect(var_dir / COUNTERS)) as target:
            copy_from_file(source / COUNTERS, target)
    restore_media(source / MEDIA, media)
    if different := differences(manifest["rows"]):
        raise BackupError(f"Restored, but the number of rows differs from the backup in {', '.join(different)}.")
    return manifest


def read_manifest(source: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_text())
    except (OSError, ValueError):
        raise BackupError(f"{source} isn't a backup: its {MANIFEST} can't be read.") from None
    if manifest.get("format") != FORMAT:
        raise BackupError(f"{source} has a format that this version can't restore.")
    if manifest["database"] != connection.vendor:
        raise BackupError(f"This is a backup of {manifest['database']}, but the database here is {connection.vendor}.")
    found = {name: digest(source / name) for name in files_in(source) if name != MANIFEST}
    if found != manifest["files"]:
        damaged = sorted(
            name for name in {*found, *manifest["files"]} if found.get(name) != manifest["files"].get(name)
        )
        raise BackupError(f"The backup is damaged: {', '.join(damaged[:5])}. Nothing was restored.")
    return manifest


def what_is_there(var_dir: Path, media: Path) -> Iterable[str]:
    if connection.introspection.table_names():
        yield "tables in the database"
    if connection.vendor == "sqlite" and (var_dir / COUNTERS).exists():
        yield f"{var_dir / COUNTERS}"
    if media.exists() and any(media.iterdir()):
        yield f"files in {media}"


def copy_from_file(source: Path, target: sqlite3.Connection) -> None:
    """Replaces the whole content in one transaction, even while others read it."""
    with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as backup:
        backup.backup(target)
    target.execute("PRAGMA journal_mode=WAL")


def restore_postgresql(dump: Path) -> None:
    """Drop the tables and restore the dump, in one transaction: if something fails, everything stays as it was."""
    dsn, environment = address()
    connection.close()
    with psycopg.connect(dsn, password=environment.get("PGPASSWORD")) as database:
        names = [sql.Identifier(name) for name in postgresql_tables(database)]
        drop = (
            sql.SQL("DROP TABLE {} CASCADE;\n").format(sql.SQL(", ").join(names)).as_string(database) if names else ""
        )
    # In a file, not in a pipe: psql would commit what it got from a pg_restore that failed.
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "restore.sql"
        with script.open("w") as file:
            file.write(drop)
            file.flush()
            options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--file=-", str(dump)]
            run("pg_restore", options, environment, stdout=file)
        options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", f"--file={script}"]
        run("psql", [*options, f"--dbname={dsn}"], environment, stdout=subprocess.DEVNULL)


def restore_media(source: Path, media: Path) -> None:
    if not source.exists():
        return
    shutil.rmtree(media, ignore_errors=True)
    shutil.copytree(source, media)


def differences(rows: dict[str, int]) -> list[str]:
    with connection.cursor() as cursor:
        counts = {}
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608  (names from the schema)
            counts[table] = cursor.fetchone()[0]
    return sorted(table for table in {*rows, *counts} if rows.get(table) != counts.get(table))
