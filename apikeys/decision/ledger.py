"""Write usage: one row per decision on a known key, committed before the answer is sent.

A buffer would be faster and lose rows whenever a worker dies (docs/decision.md has the figures); these are plain inserts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from apikeys.decision.lookup import KeyRecord
from apikeys.decision.statements import can_commit, identifier, run
from apikeys.secrets import masked
from config.base.http import plain_address
from ratelimits.budgets import Budget, Outcome
from ratelimits.limiter import limiter
from ratelimits.matching import MAX_METHOD_LENGTH

LONGEST_ENDPOINT = 255
LONGEST_USER_AGENT = 512

INSERT = """
INSERT INTO key_usage
    (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent)
VALUES (:id, :key, :user, :rule, :endpoint, :method, :status, :reason, :address, :agent)
"""
# Made by migration 0005.
SETTLE = """
CALL key_usage_settle(NULL, :keys, :terms, :id, :key, :user, :rule, :rules, :endpoint, :method, :address, :agent)
"""

Entry = dict[str, Any]


def entry(
    event_id: UUID, key: KeyRecord, *, method: str, endpoint: str, address: str = "", user_agent: str = ""
) -> Entry:
    """A usage row in the making: everything but the outcome, cut and cleaned to what its columns hold."""
    return {
        "id": identifier(event_id),
        "key": identifier(key.id),
        "user": key.user_id,
        "rule": None,
        "endpoint": masked(storable(endpoint))[:LONGEST_ENDPOINT],
        "method": storable(method)[:MAX_METHOD_LENGTH],
        "address": plain_address(address) or None,
        "agent": masked(storable(user_agent))[:LONGEST_USER_AGENT],
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
    outcome = settle_at_once(row, budgets, cost) if can_commit() else None
    if outcome is not None:
        return outcome
    outcome = limiter().hit(budgets, cost)
    row = {**row, "rule": deciding_rule(budgets, outcome)}
    if outcome.allowed:
        write(row, 200)
    else:
        write(row, 429, "rate_limited")
    return outcome


def settle_at_once(row: Entry, budgets: Sequence[Budget], cost: int) -> Outcome | None:
    """As `settle`, where counters and ledger share a PostgreSQL: one call, which frees the counters before the row is flushed.

    None, with nothing counted and nothing written, where they don't.
    """
    row = {**row, "rule": first_rule(budgets)}
    return limiter().hit_with(lambda parameters: run(SETTLE, {**row, **parameters})[0][0], budgets, cost)


def first_rule(budgets: Sequence[Budget]) -> int | None:
    return next((budget.rule_id for budget in budgets if budget.rule_id is not None), None)


def deciding_rule(budgets: Sequence[Budget], outcome: Outcome) -> int | None:
    """The id of the rule that refused, else of the first that applied; None without a rule."""
    if outcome.allowed:
        return first_rule(budgets)
    refusing = [state.budget for state in outcome.states if state.exceeded and not state.budget.observe]
    return refusing[0].rule_id if refusing else None
