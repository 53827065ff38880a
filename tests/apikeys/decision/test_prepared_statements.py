"""PostgreSQL plans the statements of a decision once per connection, not for each request."""

from __future__ import annotations

import pytest
from django.db import connection

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import decide_many
from tests.rows import make_key

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite plans no statement twice"),
]
PLANS = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE from_sql = false ORDER BY 1"


def test_statements_are_planned_once_per_connection(alice, counters):
    keys = [make_key(alice, f"key {number}") for number in range(30)]
    facts = [Facts(Credential(key.secret), "GET", "/orders", "203.0.113.9") for key in keys]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # with statistics, PostgreSQL is more likely to plan each time
        connection.close()
    for number in range(12):
        assert all(verdict.allowed for verdict in decide_many(facts[number : number + 1 + number % 3]))
    with connection.cursor() as cursor:
        cursor.execute(PLANS)
        plans = cursor.fetchall()
    assert plans
    assert {custom for _, custom in plans} == {0}
    assert max(generic for generic, _ in plans) >= 12
