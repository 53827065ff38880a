"""POST /authz/verify: a service asks in JSON whether a key may do something. Every verdict is HTTP 200."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse, JsonResponse

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import (
    MALFORMED,
    MISSING,
    Credential,
    contains_key,
    credential_from,
    read_credential,
)
from apikeys.decision.decide import Verdict
from apikeys.gateway import json_input
from apikeys.gateway.dialects import Answer, Question
from apikeys.gateway.json_input import InvalidInput
from config.base.http import problem
from ratelimits.budgets import BudgetState
from ratelimits.matching import MAX_METHOD_LENGTH, METHOD

MAX_BODY_BYTES = 64 * 1024
# No store overflows: 10^6 times the longest period, in microseconds, fits 63 bits.
MAX_COST = 1_000_000
FIELDS: dict[str, json_input.Reader] = {
    "key": json_input.text(16 * 1024),
    "method": json_input.matching(
        METHOD, f"an HTTP method: 1 to {MAX_METHOD_LENGTH} letters, digits or !#$%&'*+-.^_`|~"
    ),
    "path": json_input.text(16 * 1024),
    "resource": json_input.matching(
        r"[^\x00-\x1f\x7f]{1,255}", "a resource of 1 to 255 characters, without control characters"
    ),
    "action": json_input.matching(r"read|create|update|delete", "read, create, update or delete"),
    "host": json_input.host,
    "ip": json_input.address,
    "cost": json_input.whole_number(0, MAX_COST),
    "user_agent": json_input.text(4 * 1024),
}


def verify(environ: Mapping[str, Any]) -> Question | Answer:
    try:
        return Question(read_facts(environ), answer)
    except InvalidInput as error:
        return problem(error.status, error.title, str(error))


def answer(verdict: Verdict) -> HttpResponse:
    return JsonResponse(as_json(verdict), headers={"Cache-Control": "no-store"})


def read_facts(environ: Mapping[str, Any]) -> Facts:
    """Raises InvalidInput."""
    given = json_input.read_fields(json_input.read_json(environ, MAX_BODY_BYTES), FIELDS)
    if "path" not in given and "resource" not in given:
        raise InvalidInput("Send path or resource.")
    if "method" not in given and "action" not in given:
        raise InvalidInput("Send method or action.")
    return Facts(
        credential_of(environ, given),
        method=given.get("method", ""),
        path=given.get("path"),
        address=given.get("ip", ""),
        user_agent=given.get("user_agent", ""),
        resource=given.get("resource", ""),
        action=given.get("action", ""),
        cost=given.get("cost", 1),
        host=given.get("host", ""),
    )


def credential_of(environ: Mapping[str, Any], given: dict[str, Any]) -> Credential:
    """The key from the JSON or from the headers. If both have one, they must be the same."""
    if contains_key(given.get("resource", "")):
        return MALFORMED
    found = read_credential(environ.get("HTTP_AUTHORIZATION", ""), environ.get("HTTP_X_API_KEY"), given.get("path", ""))
    if "key" not in given or found.problem == "malformed_key":
        return found
    credential = credential_from(given["key"])
    return credential if found in {MISSING, credential} else MALFORMED


def as_json(verdict: Verdict) -> dict[str, Any]:
    key, outcome = verdict.key, verdict.outcome
    return {
        "allowed": verdict.allowed,
        "status": verdict.status,
        "reason": verdict.reason,
        "key": key and {"id": str(key.id), "name": key.name, "prefix": key.prefix, "last4": key.last4},
        "user": key and {"id": key.user_id, "username": key.username},
        "tier": tier_as_json(verdict),
        "limits": [limit_as_json(state) for state in outcome.states] if outcome else [],
        "retry_after": outcome.retry_after if outcome and not verdict.allowed else None,
        "event_id": verdict.event_id and str(verdict.event_id),
    }


def tier_as_json(verdict: Verdict) -> dict[str, Any] | None:
    key, tier = verdict.key, verdict.anonymous_tier
    if tier is not None:
        return {"id": tier.id, "name": tier.name}
    return {"id": key.tier_id, "name": key.tier_name} if key is not None and key.tier_id is not None else None


def limit_as_json(state: BudgetState) -> dict[str, Any]:
    budget = state.budget
    return {
        "name": budget.name,
        "limit": budget.limit,
        "period": budget.period,
        "window": budget.window,
        "unit": budget.unit,
        "mode": "observe" if budget.observe else "enforce",
        "remaining": state.remaining,
        "reset_after": state.reset_after,
        "retry_after": state.retry_after,
        "exceeded": state.exceeded,
    }
