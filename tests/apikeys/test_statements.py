"""The statements of the hot path, on PostgreSQL: values arrive as they are, errors are Django's, transactions hold."""

from __future__ import annotations

import pytest
from django.db import DataError, connection, transaction

from apikeys import statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="how PostgreSQL reads values"),
]


@pytest.mark.parametrize("value", ["", "plain", 'a "quoted" one', "back\\slash", "{braces}", "a,b", "NULL", "é"])
def test_texts_in_arrays_arrive_as_they_are(value):
    assert statements.run("SELECT :values::text[]", {"values": [value, "x"]}) == [([value, "x"],)]


def test_numbers_and_nothing():
    rows = statements.run("SELECT :numbers::bigint[], :none::int", {"numbers": [1, None, 2**62], "none": None})
    assert rows == [([1, None, 2**62], None)]


def test_an_error_is_djangos_and_leaves_the_connection_good():
    with pytest.raises(DataError, match="division by zero"):
        statements.run("SELECT 1 / :zero::int", {"zero": 0})
    assert statements.run("SELECT :one::int", {"one": 1}) == [(1,)]


def test_a_statement_belongs_to_the_transaction_it_stands_in(key):
    with transaction.atomic():
        statements.run("UPDATE api_keys SET name = :name WHERE id = :id", {"name": "taken back", "id": key.pk})
        transaction.set_rollback(True)
    key.refresh_from_db()
    assert key.name != "taken back"


def test_a_session_ends_with_its_connection():
    statements.run("SELECT :one::int", {"one": 1})
    raw = connection.connection
    assert raw in statements._sessions
    before = len(statements._sessions)
    connection.close()
    del raw
    assert len(statements._sessions) < before
