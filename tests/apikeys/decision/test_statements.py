"""Statements of the hot path store values unchanged, raise Django's errors, and respect transactions."""

from __future__ import annotations

import math
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, DataError, connection, transaction

from apikeys.decision import statements

pytestmark = pytest.mark.django_db(transaction=True)
on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="how PostgreSQL reads values")
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's connection of its own")
RENAME = "UPDATE api_keys SET name = :name WHERE id = :id"


def rename(key, name):
    statements.run(RENAME, {"name": name, "id": statements.identifier(key.pk)})


def name_of(key):
    return statements.run("SELECT name FROM api_keys WHERE id = :id", {"id": statements.identifier(key.pk)})[0][0]


def test_a_statement_belongs_to_the_transaction_it_stands_in(key):
    with transaction.atomic():
        rename(key, "taken back")
        assert name_of(key) == "taken back"
        transaction.set_rollback(True)
    key.refresh_from_db()
    assert key.name == name_of(key) != "taken back"


def test_outside_a_transaction_all_see_it_at_once(key):
    rename(key, "known to all")
    key.refresh_from_db()
    assert key.name == "known to all"


def test_what_django_wrote_is_read_at_once(key):
    assert name_of(key) == key.name
    type(key).objects.update(name="changed since")
    assert name_of(key) == "changed since"


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([], "{}"),
        ([1, None, 2], "{1,NULL,2}"),
        (["a", "b,c"], '{"a","b,c"}'),
        (['say "hi"', "back\\slash"], r'{"say \"hi\"","back\\slash"}'),
        (["a", None], '{"a",NULL}'),
        ([None, "a"], '{NULL,"a"}'),
    ],
)
def test_lists_are_written_as_arrays(values, written):
    assert statements.array(values).replace(" ", "") == written.replace(" ", "")


def test_a_broken_statement_is_djangos_error():
    with pytest.raises(DatabaseError, match="no_such_table"):
        statements.run("SELECT 1 FROM no_such_table", {})


# --- SQLite ---


@pytest.fixture
def fresh_connection(monkeypatch):
    monkeypatch.setattr(statements, "_impatient", statements.Impatient())


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_the_connection_is_kept_for_as_long_as_djangos(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
    first = statements.impatient_connection(connection)
    assert statements.impatient_connection(connection) is first
    statements._impatient.expires = 0.0
    assert statements.impatient_connection(connection) is not first
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        first.execute("SELECT 1")


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_without_an_age_the_connection_is_kept(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    statements.impatient_connection(connection)
    assert statements._impatient.expires == math.inf


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_a_forked_process_makes_its_own_connection():
    first = statements.impatient_connection(connection)
    statements._impatient.process = -1
    assert statements.impatient_connection(connection) is not first
    assert first.execute("SELECT 1").fetchone() == (1,)


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_each_thread_has_its_own_connection():
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(statements.impatient_connection, connection).result()
    assert statements.impatient_connection(connection) is not other


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_the_connection_has_the_settings_of_djangos():
    raw = statements.impatient_connection(connection)
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint")
    with connection.cursor() as cursor:
        djangos = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert [raw.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == djangos


@on_sqlite
def test_a_broken_statement_is_not_tried_again(monkeypatch):
    tried = []
    monkeypatch.setattr(statements.time, "sleep", tried.append)
    with pytest.raises(DatabaseError):
        statements.run("SELECT 1 FROM no_such_table", {})
    assert not tried


# --- PostgreSQL ---


@on_postgresql
@pytest.mark.parametrize("value", ["", "plain", 'a "quoted" one', "back\\slash", "{braces}", "a,b", "NULL", "é"])
def test_texts_in_arrays_arrive_as_they_are(value):
    assert statements.run("SELECT :values::text[]", {"values": [value, "x"]}) == [([value, "x"],)]


@on_postgresql
def test_numbers_and_nothing():
    rows = statements.run("SELECT :numbers::bigint[], :none::int", {"numbers": [1, None, 2**62], "none": None})
    assert rows == [([1, None, 2**62], None)]


@on_postgresql
def test_an_error_is_djangos_and_leaves_the_connection_good():
    with pytest.raises(DataError, match="division by zero"):
        statements.run("SELECT 1 / :zero::int", {"zero": 0})
    assert statements.run("SELECT :one::int", {"one": 1}) == [(1,)]


@on_postgresql
def test_a_session_ends_with_its_connection():
    statements.run("SELECT :one::int", {"one": 1})
    raw = connection.connection
    assert raw in statements._sessions
    before = len(statements._sessions)
    connection.close()
    del raw
    assert len(statements._sessions) < before
