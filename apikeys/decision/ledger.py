"""Charge requests and write their usage rows: one for each decision on a known key, committed before the answer is sent.

A buffer would be faster and lose rows whenever a worker dies (docs/decision.md has the figures); these are plain inserts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DatabaseError

from apikeys.decision.lookup import KeyRecord
from apikeys.decision.statements import can_commit, identifier, listed_rows, run, vendor
from apikeys.secrets import masked
from config.base.database import unavailable_error
from config.base.http import plain_address
from ratelimits.budgets import Budget, Charge, Outcome
from ratelimits.limiter import limiter
from ratelimits.matching import MAX_METHOD_LENGTH

MAX_ENDPOINT_LENGTH = 255
MAX_USER_AGENT_LENGTH = 512

COLUMNS = (
    "ids", "api_keys", "users", "rules", "endpoints", "methods", "statuses", "reasons", "addresses", "agents", "hosts"
)  # fmt: skip
INSERTS = {
    "postgresql": """
INSERT INTO key_usage
    (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent, host)
SELECT id, api_key, user_id, rule, endpoint, method, status, reason, address::inet, agent, host
FROM unnest(:ids::uuid[], :api_keys::uuid[], :users::bigint[], :rules::bigint[], :endpoints::text[], :methods::text[],
            :statuses::int[], :reasons::text[], :addresses::text[], :agents::text[], :hosts::text[])
    AS rows (id, api_key, user_id, rule, endpoint, method, status, reason, address, agent, host)
""",
    "sqlite": """
INSERT INTO key_usage
    (id, api_key_id, user_id, rate_limit_id, endpoint, method, status_code, reason, ip_address, user_agent, host)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
       json_extract(value, '$[9]'), json_extract(value, '$[10]')
FROM json_each(:rows)
""",
}
# Made by migration 0013.
SETTLE = """
CALL key_usage_settle(NULL, :keys, :shorts, :ends, :terms, :rules, :ids, :api_keys, :users, :statuses, :reasons,
                      :endpoints, :methods, :addresses, :agents, :hosts)
"""
# Doesn't wait for the disk: the row is durable already.
NOTE_DENIALS = {
    "postgresql": """
UPDATE key_usage SET denied_by = notes.note::jsonb
FROM unnest(:ids::uuid[], :notes::text[]) AS notes (id, note), set_config('synchronous_commit', 'off', true)
WHERE key_usage.id = notes.id
""",
    "sqlite": """
UPDATE key_usage SET denied_by = json_extract(notes.value, '$[1]')
FROM json_each(:rows) AS notes WHERE key_usage.id = json_extract(notes.value, '$[0]')
""",
}


class UnwrittenError(DatabaseError):
    """A usage row could not be written. Only the database's log has the reason."""


class Entry(NamedTuple):
    """A usage row without its outcome, cut and cleaned to fit its columns."""

    event_id: UUID
    api_key: UUID
    user: int
    endpoint: str
    method: str
    address: str | None
    agent: str
    host: str


class LedgerLine(NamedTuple):
    """A request to record, with the status and reason of its denial, or with the budgets that decide."""

    entry: Entry
    budgets: Sequence[Budget] = ()
    cost: int = 1
    status: int = 0
    reason: str = ""


def entry(
    event_id: UUID,
    key: KeyRecord,
    *,
    method: str,
    endpoint: str,
    address: str = "",
    user_agent: str = "",
    host: str = "",
) -> Entry:
    return Entry(
        event_id,
        key.id,
        key.user_id,
        masked(storable(endpoint))[:MAX_ENDPOINT_LENGTH],
        storable(method)[:MAX_METHOD_LENGTH],
        plain_address(address) or None,
        masked(storable(user_agent))[:MAX_USER_AGENT_LENGTH],
        masked(host),
    )


def storable(text: str) -> str:
    """`text` without what a database rejects: PostgreSQL rejects NUL, and both reject lone surrogates."""
    if text.isascii():
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def settle(lines: Sequence[LedgerLine]) -> list[Outcome | Exception | None]:
    """Charge each request to all of its budgets or to none, in turn, and write the rows.

    Returns for each its outcome, None if it was denied before, or the error that kept its row from being written. Raises
    only if nothing was charged, or for a single request.
    """
    results = settle_at_once(lines) if can_commit() else None
    if results is not None:
        return results
    outcomes = limiter().hit_many(charges_of(lines))
    results = [None if line.status else outcome for line, outcome in zip(lines, outcomes, strict=True)]
    rows = [row_of(line, outcome) for line, outcome in zip(lines, outcomes, strict=True)]
    try:
        write(rows)
    except DatabaseError as error:
        if len(rows) == 1:
            raise
        for number, row in enumerate(rows):
            failure = error if unavailable_error(error) is not None else write_alone(row)
            results[number] = failure or results[number]
    return results


def settle_at_once(lines: Sequence[LedgerLine]) -> list[Outcome | Exception | None] | None:
    """Like `settle`, if counters and ledger share a PostgreSQL: one call, which releases the counters before it writes.

    None, with nothing counted and nothing written, where they don't.
    """
    unwritten: set[int] = set()

    def call(parameters: Any) -> Sequence[int]:
        columns = {**listed_rows(COLUMNS, [row_of(line, None) for line in lines]), **parameters}
        answer: list[int] = run(SETTLE, columns)[0][0]
        # What the procedure adds to the store's own answer.
        length = 1 + len(parameters["ends"]) + 4 * len(parameters["rules"])
        unwritten.update(answer[length:])
        return answer[:length]

    outcomes = limiter().hit_with(call, charges_of(lines))
    if outcomes is None:
        return None
    return [
        UnwrittenError("The usage row could not be written.")
        if number in unwritten
        else None
        if line.status
        else outcome
        for number, (line, outcome) in enumerate(zip(lines, outcomes, strict=True), start=1)
    ]


def charges_of(lines: Sequence[LedgerLine]) -> list[Charge]:
    return [Charge(line.budgets, line.cost) for line in lines]


def row_of(line: LedgerLine, outcome: Outcome | None) -> tuple[Any, ...]:
    """A row in the order of COLUMNS; without an outcome, status 0 and no rule stand for what the budgets will say."""
    entry, status, reason, rule = line.entry, line.status, line.reason, None
    if outcome is not None and not status:
        status, reason = (200, "") if outcome.allowed else (429, "rate_limited")
        rule = deciding_rule(line.budgets, outcome)
    return (
        identifier(entry.event_id),
        identifier(entry.api_key),
        entry.user,
        rule,
        entry.endpoint,
        entry.method,
        status,
        reason,
        entry.address,
        entry.agent,
        entry.host,
    )


def write(rows: Sequence[tuple[Any, ...]]) -> None:
    run(INSERTS[vendor()], listed_rows(COLUMNS, rows))


def write_alone(row: tuple[Any, ...]) -> Exception | None:
    try:
        write([row])
    except DatabaseError as error:
        return error
    return None


def deciding_rule(budgets: Sequence[Budget], outcome: Outcome) -> int | None:
    """The id of the rule that denied, else of the first that applied; None without a rule."""
    if outcome.allowed:
        return next((budget.rule_id for budget in budgets if budget.rule_id is not None), None)
    return next((state.budget.rule_id for state in outcome.denying), None)


def note_denials(lines: Sequence[LedgerLine], results: Sequence[Outcome | Exception | None]) -> None:
    """Add to the rows of rate limited requests which limit denied them, as it was then. Allowed requests cost nothing."""
    notes = [
        (identifier(line.entry.event_id), json.dumps(note))
        for line, outcome in zip(lines, results, strict=True)
        if isinstance(outcome, Outcome) and not outcome.allowed and (note := denied_by(outcome))
    ]
    if notes:
        run(NOTE_DENIALS[vendor()], listed_rows(("ids", "notes"), notes))


def denied_by(outcome: Outcome) -> dict[str, Any] | None:
    """The value of KeyUsage.denied_by; None if no rate limit denied the request."""
    denying = outcome.denying
    if not denying:
        return None
    budget = denying[0].budget
    return {"name": budget.name, "rate": budget.in_words, "retry_after": outcome.retry_after}
