"""Write usage: one row per decision on a known key, committed before the answer is sent.

A buffer would be faster and lose rows whenever a worker dies (docs/decision.md has the figures); these are plain inserts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from apikeys.addresses import plain_address
from apikeys.lookup import KeyRecord
from apikeys.statements import identifier, run, vendor
from ratelimits.budgets import Budget, Outcome
from ratelimits.limiter import limiter
from ratelimits.limiter import outcome as outcome_of
from ratelimits.stores.postgresql import PostgreSQLStore, in_order

LONGEST_ENDPOINT = 255
LONGEST_METHOD = 10
LONGEST_USER_AGENT = 512

INSERT = """
INSERT INTO key_usage
    (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent)
VALUES (:id, :key, :user, :rule, :endpoint, :method, :status, :reason, :address, :agent)
"""

Entry = dict[str, Any]


class CountersBarred(Exception):
    """Somebody keeps everybody from the tables of counters."""


def entry(
    event_id: UUID, key: KeyRecord, *, method: str, endpoint: str, address: str = "", user_agent: str = ""
) -> Entry:
    """A usage row in the making: everything but the outcome, cut and cleaned to what its columns hold."""
    return {
        "id": identifier(event_id),
        "key": identifier(key.id),
        "user": key.user_id,
        "rule": None,
        "endpoint": storable(endpoint)[:LONGEST_ENDPOINT],
        "method": storable(method)[:LONGEST_METHOD],
        "address": plain_address(address) or None,
        "agent": storable(user_agent)[:LONGEST_USER_AGENT],
    }


def storable(text: str) -> str:
    """`text` as a database takes it: PostgreSQL refuses NUL, and neither takes half a surrogate pair."""
    if text.isascii():
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def write(row: Entry, status: int, reason: str = "") -> None:
    """Insert the row with its outcome."""
    run(INSERT, {**row, "status": status, "reason": reason})


def settle(row: Entry, budgets: Sequence[Budget], cost: int) -> Outcome:
    """Take `cost` from all `budgets` or from none, and write the row with what came of it."""
    counting = limiter()
    store, breaker = counting.store, counting.breaker
    if budgets and cost and isinstance(store, PostgreSQLStore) and vendor() == "postgresql" and not breaker.is_open:
        # Barred counters are for the limiter's own connection, which knows when to give up.
        with contextlib.suppress(CountersBarred):
            return settle_at_once(row, budgets, cost, store)
    outcome = counting.hit(budgets, cost)
    row = {**row, "rule": deciding_rule(budgets, outcome)}
    if outcome.allowed:
        write(row, 200)
    else:
        write(row, 429, "rate_limited")
    return outcome


def settle_at_once(row: Entry, budgets: Sequence[Budget], cost: int, store: PostgreSQLStore) -> Outcome:
    """As `settle`, where counters and ledger share a PostgreSQL: one statement, one commit.

    Raises CountersBarred, with nothing counted and nothing written, if somebody bars the counters for longer than a moment.
    """
    sql, values = store.statement(budgets, cost)
    ordered = in_order(budgets)
    parameters = {
        **row,
        **{f"value{number}": value for number, value in enumerate(values)},
        "rule": first_rule(budgets),
        "rules": [budget.rule_id for budget in ordered],
        "observed": [budget.observe for budget in ordered],
    }
    try:
        rows = run(hit_and_insert(sql), parameters)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise CountersBarred from error
        raise
    outcome = outcome_of(budgets, store.reading(budgets, rows, cost), cost)
    limiter().settle(outcome)  # staff see who is refused, and dead counters are swept
    return outcome


@lru_cache(maxsize=4)
def hit_and_insert(hit: str) -> str:
    """One statement around the store's own: charge, write the row with the outcome, and return what the store returns."""
    pieces = hit.split("%s")
    named = pieces[0] + "".join(f":value{number}{piece}" for number, piece in enumerate(pieces[1:]))
    # Only our own text goes in: values stand as parameters.
    return HIT_AND_INSERT.replace("{hit}", named)


HIT_AND_INSERT = """
WITH hit AS MATERIALIZED ({hit}),
numbered AS (SELECT allowed, fits, row_number() OVER () AS place FROM hit),
verdict AS (
    SELECT bool_and(allowed) AS allowed,
           min(place) FILTER (WHERE NOT fits AND NOT (:observed::boolean[])[place]) AS refused_by
    FROM numbered
),
event AS (
    INSERT INTO key_usage
        (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent)
    SELECT :id::uuid, :key::uuid, :user::bigint,
           CASE WHEN allowed THEN :rule::bigint ELSE (:rules::bigint[])[refused_by] END,
           :endpoint::text, :method::text,
           CASE WHEN allowed THEN 200 ELSE 429 END,
           CASE WHEN allowed THEN '' ELSE 'rate_limited' END,
           :address::inet, :agent::text
    FROM verdict
)
SELECT * FROM hit
"""


def first_rule(budgets: Sequence[Budget]) -> int | None:
    return next((budget.rule_id for budget in budgets if budget.rule_id is not None), None)


def deciding_rule(budgets: Sequence[Budget], outcome: Outcome) -> int | None:
    """The id of the rule that refused, else of the first that applied; None without a rule."""
    if outcome.allowed:
        return first_rule(budgets)
    refusing = [state.budget for state in outcome.states if state.exceeded and not state.budget.observe]
    return refusing[0].rule_id if refusing else None
