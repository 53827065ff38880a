"""manage.py backup and restore: everything is restored, and nothing is overwritten by accident."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from apikeys.models import KeyUsage
from config.base import backups
from tests.apikeys.gateway.servers import ROOT, database_url
from tests.rows import make_key, make_usage

pytestmark = pytest.mark.django_db(transaction=True)

PICTURE = Path("profile-images/1/face.png")
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite")
on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="about PostgreSQL")


@pytest.fixture
def var_dir(settings, tmp_path):
    """VAR_DIR with counters and a picture."""
    settings.VAR_DIR = tmp_path / "var"
    settings.MEDIA_ROOT = settings.VAR_DIR / "media"
    fill(settings.VAR_DIR)
    return settings.VAR_DIR


def fill(var):
    (var / "media" / PICTURE).parent.mkdir(parents=True)
    (var / "media" / PICTURE).write_bytes(b"a picture")
    with sqlite3.connect(var / backups.COUNTERS) as counters:
        counters.execute("CREATE TABLE counters (key TEXT)")
        counters.execute("INSERT INTO counters VALUES ('user:1')")
    counters.close()


@pytest.fixture
def rows(alice, bob):
    for _ in range(3):
        make_usage(make_key(alice))


@pytest.fixture
def backup(var_dir, rows, tmp_path, capsys):
    call_command("backup", str(tmp_path / "backup"))
    assert capsys.readouterr().out.startswith("Backed up ")
    return tmp_path / "backup"


@contextmanager
def empty_database(directory):
    """The URL of a new, empty database."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{directory}/empty.sqlite3"
        return
    name = f"{connection.settings_dict['NAME']}_restored"
    with psycopg.connect(backups.address()[0], autocommit=True) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}"')
        server.execute(f'CREATE DATABASE "{name}"')
        yield f"{database_url()}_restored"
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def manage(url, var, *arguments):
    env = os.environ | {"DATABASE_URL": url, "VAR_DIR": str(var), "DEBUG": "true", "ENV_FILE": ""}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_backup_can_be_restored_into_an_empty_installation(backup, tmp_path):
    with empty_database(tmp_path) as url:
        new_var_dir = tmp_path / "there"
        done = manage(url, new_var_dir, "restore", str(backup))
        assert done.returncode == 0, done.stderr
        assert "Now run manage.py migrate." in done.stdout
        assert manage(url, new_var_dir, "migrate", "--check").returncode == 0
        code = "from accounts.models import User; from apikeys.models import KeyUsage as U; print(User.objects.count(), U.objects.count())"
        assert manage(url, new_var_dir, "shell", "-v0", "-c", code).stdout.split() == ["2", "3"]
        assert (new_var_dir / "media" / PICTURE).read_bytes() == b"a picture"
        counters = sqlite3.connect(new_var_dir / backups.COUNTERS)
        assert counters.execute("SELECT key FROM counters").fetchall() == [("user:1",)]
        counters.close()
        again = manage(url, new_var_dir, "restore", str(backup))
        assert again.returncode == 1
        assert "There is data already: tables in the database" in again.stderr


def test_replacing_restores_exactly_the_backup(backup, var_dir, alice, capsys):
    KeyUsage.objects.all().delete()
    User.objects.all().update(name="Changed")
    (var_dir / "media" / PICTURE).write_bytes(b"another picture")
    (var_dir / "media" / "later.png").write_bytes(b"")
    with pytest.raises(CommandError, match="There is data already"):
        call_command("restore", str(backup))
    assert not KeyUsage.objects.exists()
    call_command("restore", str(backup), "--replace")
    assert capsys.readouterr().out.startswith("Restored ")
    assert KeyUsage.objects.count() == 3
    assert User.objects.get(username="alice").name == "Alice"
    assert (var_dir / "media" / PICTURE).read_bytes() == b"a picture"
    assert not (var_dir / "media" / "later.png").exists()


def test_the_manifest_counts_rows_and_the_files_are_private(backup):
    manifest = json.loads((backup / backups.MANIFEST).read_text())
    assert manifest["rows"]["user"] == 2
    assert manifest["rows"]["key_usage"] == 3
    assert f"media/{PICTURE}" in manifest["files"]
    assert backup.stat().st_mode & 0o777 == 0o700
    assert next(backup.glob("database.*")).stat().st_mode & 0o077 == 0


def test_a_backup_works_without_counters_and_pictures(var_dir, rows, tmp_path, settings):
    (var_dir / backups.COUNTERS).unlink()
    settings.MEDIA_ROOT = tmp_path / "nowhere"
    call_command("backup")
    (made,) = (var_dir / "backups").iterdir()
    assert [path.name for path in sorted(made.iterdir())] == [next(made.glob("database.*")).name, backups.MANIFEST]
    call_command("restore", str(made), "--replace")
    assert KeyUsage.objects.count() == 3


def error_of(*arguments):
    with pytest.raises(CommandError) as error:
        call_command(*arguments)
    return str(error.value)


def test_an_existing_backup_is_not_overwritten(backup):
    assert "already exists" in error_of("backup", str(backup))


def test_a_damaged_backup_is_not_restored(backup):
    (backup / "media" / PICTURE).write_bytes(b"")
    assert error_of("restore", str(backup), "--replace") == (
        f"The backup is damaged: media/{PICTURE}. Nothing was restored."
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "has a format that this version can't restore"),
        ({"database": "oracle"}, "This is a backup of oracle"),
        ({"rows": {"user": 5}}, "the number of rows differs from the backup in "),
    ],
)
def test_a_mismatching_backup_is_not_restored(backup, change, expected):
    path = backup / backups.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert expected in error_of("restore", str(backup), "--replace")


def test_a_directory_without_a_backup_is_an_error(tmp_path, var_dir):
    assert "isn't a backup" in error_of("restore", str(tmp_path))


@on_sqlite
def test_counters_and_pictures_count_as_existing_data(var_dir, monkeypatch):
    monkeypatch.setattr(connection.introspection, "table_names", list)
    assert list(backups.what_is_there(var_dir, django_settings.MEDIA_ROOT)) == [
        str(var_dir / backups.COUNTERS),
        f"files in {django_settings.MEDIA_ROOT}",
    ]


def test_empty_directories_do_not_count_as_data(var_dir, tmp_path):
    (tmp_path / "empty" / "media").mkdir(parents=True)
    found = backups.what_is_there(tmp_path / "empty", tmp_path / "empty" / "media")
    assert list(found) == ["tables in the database"]


@on_postgresql
def test_a_failed_restore_changes_nothing(backup, monkeypatch):
    (backup / backups.DUMP).write_bytes(b"PGDMP")
    monkeypatch.setattr(backups, "digest", lambda path: "")
    path = backup / backups.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"files": dict.fromkeys(manifest["files"], "")}))
    assert error_of("restore", str(backup), "--replace").startswith("pg_restore failed: ")
    assert KeyUsage.objects.count() == 3


@on_postgresql
def test_a_missing_pg_dump_is_an_error(var_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "pg_dump isn't installed" in error_of("backup")
