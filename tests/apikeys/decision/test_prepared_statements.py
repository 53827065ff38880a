"""PostgreSQL plans the statements of a decision once per connection, and uses indexes whatever it knows when it does."""

from __future__ import annotations

import pytest
from django.db import connection

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import decide_many
from tests.rows import make_key, make_limit
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite plans no statement twice"),
]
PLANS = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE from_sql = false ORDER BY 1"

TABLES = ("rate_counters", "rate_quotas", "api_keys", "key_permissions")
READ = """
SELECT relname, seq_scan, idx_tup_read FROM pg_stat_user_tables AS tables, LATERAL (
    SELECT sum(idx_tup_read) AS idx_tup_read FROM pg_stat_user_indexes WHERE relid = tables.relid
) AS indexes WHERE relname = ANY(%s)
"""


def facts_of(keys):
    return [Facts(Credential(key.secret), "GET", "/orders", "203.0.113.9") for key in keys]


def execute(statement, parameters=()):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return {row[0]: row[1:] for row in cursor.fetchall()} if cursor.description else {}


def decide_all(keys):
    assert all(verdict.allowed for verdict in decide_many(facts_of(keys)))


def reads_after_disconnecting():
    """{table: (scans of all of it, entries read from its indexes)}. PostgreSQL has counted them when a connection has ended."""
    own = execute("SELECT 'pid', pg_backend_pid()")["pid"][0]
    connection.close()
    wait_until(lambda: not execute("SELECT pid FROM pg_stat_activity WHERE pid = %s", [own]))
    return execute(READ, [list(TABLES)])


def test_statements_are_planned_once_per_connection(alice, counters):
    keys = [make_key(alice, f"key {number}") for number in range(30)]
    facts = facts_of(keys)
    execute("ANALYZE")  # with statistics, PostgreSQL is more likely to plan each time
    connection.close()
    for number in range(12):
        assert all(verdict.allowed for verdict in decide_many(facts[number : number + 1 + number % 3]))
    with connection.cursor() as cursor:
        cursor.execute(PLANS)
        plans = cursor.fetchall()
    assert plans
    assert {custom for _, custom in plans} == {0}
    assert max(generic for generic, _ in plans) >= 12


@pytest.fixture
def wide_limits(free):
    make_limit(free, "/orders", limit=1000, period=60)
    make_limit(free, "/orders", limit=1000, period=86_400, window="fixed")


def test_counters_are_found_by_index_if_there_were_none_when_planned(alice, counters, wide_limits):
    keys = [make_key(alice, f"key {number}") for number in range(5)]
    execute("ANALYZE rate_counters, rate_quotas")
    before = reads_after_disconnecting()
    decide_all(keys[:1])
    for table in ("rate_counters", "rate_quotas"):
        execute(f"INSERT INTO {table} SELECT 'other:' || n, 1, 1, 1 FROM generate_series(1, 2000) AS n")
    for _ in range(10):
        decide_all(keys)
    after = reads_after_disconnecting()
    for table in ("rate_counters", "rate_quotas"):
        assert after[table][0] == before[table][0]
        assert after[table][1] - before[table][1] < 100


def test_keys_are_found_by_index_among_a_few_hundred(alice, counters, wide_limits):
    keys = [make_key(alice, f"key {number}") for number in range(300)]
    execute("ANALYZE")
    before = reads_after_disconnecting()
    for number in range(0, 200, 20):
        decide_all(keys[number : number + 20])
    after = reads_after_disconnecting()
    for table in ("api_keys", "key_permissions"):
        assert after[table][0] == before[table][0]
