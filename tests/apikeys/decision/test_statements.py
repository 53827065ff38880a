"""SQL statements of the decision store values unchanged, raise Django's errors, and respect transactions."""

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


def test_statement_is_rolled_back_with_its_transaction(key):
    with transaction.atomic():
        rename(key, "taken back")
        assert name_of(key) == "taken back"
        transaction.set_rollback(True)
    key.refresh_from_db()
    assert key.name == name_of(key) != "taken back"


def test_statement_outside_a_transaction_is_committed(key):
    rename(key, "known to all")
    key.refresh_from_db()
    assert key.name == "known to all"


def test_statement_reads_what_django_wrote(key):
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
def test_lists_become_arrays(values, written):
    assert statements.array(values).replace(" ", "") == written.replace(" ", "")


def test_invalid_statement_raises_djangos_error():
    with pytest.raises(DatabaseError, match="no_such_table"):
        statements.run("SELECT 1 FROM no_such_table", {})


# --- SQLite ---


@pytest.fixture
def fresh_connection(monkeypatch):
    monkeypatch.setattr(statements, "_impatient", statements.Impatient())


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_connection_is_kept_for_conn_max_age(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
    first = statements.impatient_connection(connection)
    assert statements.impatient_connection(connection) is first
    statements._impatient.expires = 0.0
    assert statements.impatient_connection(connection) is not first
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        first.execute("SELECT 1")


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_connection_is_kept_without_conn_max_age(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    statements.impatient_connection(connection)
    assert statements._impatient.expires == math.inf


@on_sqlite
@pytest.mark.usefixtures("fresh_connection")
def test_forked_process_opens_its_own_connection():
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
def test_connection_has_the_same_pragmas_as_djangos():
    raw = statements.impatient_connection(connection)
    pragmas = ("journal_mode", "synchronous", "foreign_keys")
    with connection.cursor() as cursor:
        djangos = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert [raw.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == djangos


@on_sqlite
def test_invalid_statement_is_not_retried(monkeypatch):
    tried = []
    monkeypatch.setattr(statements.time, "sleep", tried.append)
    with pytest.raises(DatabaseError):
        statements.run("SELECT 1 FROM no_such_table", {})
    assert not tried


# --- PostgreSQL ---


@on_postgresql
@pytest.mark.parametrize("value", ["", "plain", 'a "quoted" one', "back\\slash", "{braces}", "a,b", "NULL", "é"])
def test_strings_in_arrays_are_unchanged(value):
    assert statements.run("SELECT :values::text[]", {"values": [value, "x"]}) == [([value, "x"],)]


@on_postgresql
def test_numbers_and_nulls_are_unchanged():
    rows = statements.run("SELECT :numbers::bigint[], :none::int", {"numbers": [1, None, 2**62], "none": None})
    assert rows == [([1, None, 2**62], None)]


@on_postgresql
def test_connection_works_after_an_error():
    with pytest.raises(DataError, match="division by zero"):
        statements.run("SELECT 1 / :zero::int", {"zero": 0})
    assert statements.run("SELECT :one::int", {"one": 1}) == [(1,)]


@on_postgresql
def test_session_ends_with_its_connection():
    statements.run("SELECT :one::int", {"one": 1})
    raw = connection.connection
    assert raw in statements._sessions
    before = len(statements._sessions)
    connection.close()
    del raw
    assert len(statements._sessions) < before
