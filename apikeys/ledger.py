"""Write usage: one row per decision on a known key, committed before the answer is sent.

A buffer would be faster and lose rows whenever a worker dies (docs/decision.md has the figures); these are plain inserts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from apikeys.lookup import KeyRecord
from apikeys.statements import identifier, run
from apikeys.addresses import plain_address
from ratelimits.limiter import Budget, Outcome, limiter

LONGEST_ENDPOINT = 255
LONGEST_METHOD = 10
LONGEST_USER_AGENT = 512

INSERT = """
INSERT INTO key_usage
    (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent)
VALUES (:id, :key, :user, :rule, :endpoint, :method, :status, :reason, :address, :agent)
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
    outcome = limiter().hit(budgets, cost)
    row["rule"] = deciding_rule(budgets, outcome)
    if outcome.allowed:
        write(row, 200)
    else:
        write(row, 429, "rate_limited")
    return outcome


def deciding_rule(budgets: Sequence[Budget], outcome: Outcome) -> int | None:
    """The id of the rule that refused, else of the first that applied; None if the request ran under no rule."""
    exceeded = [state.budget.rule_id for state in outcome.states if state.exceeded]
    return next((rule for rule in [*exceeded, *(budget.rule_id for budget in budgets)] if rule is not None), None)
