"""RateLimit header fields, the older X-RateLimit-* fields, and the 429 response.

The RateLimit fields follow draft-ietf-httpapi-ratelimit-headers, revisions 08 to 11: lists of structured-field strings
(RFC 9651) with parameters.
"""

from __future__ import annotations

from typing import Any

from django.http import JsonResponse

from config.base.http import problem
from config.base.text import counted
from ratelimits.budgets import REQUESTS, WINDOW_SECONDS, Budget, BudgetState, Outcome, month_bounds

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
# X-RateLimit-Reset of a total: the latest time that clients with 32-bit numbers can read, in January 2038.
NEVER = 2**31 - 1
EXPOSED = "RateLimit-Policy, RateLimit, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After"


def rate_limit_headers(outcome: Outcome) -> dict[str, str]:
    """Header fields for an allowed or denied request. Clients don't see budgets that only observe."""
    headers = {} if outcome.allowed else {"Retry-After": str(outcome.retry_after)}
    states = [state for state in outcome.states if not state.budget.observe]
    if states:
        tightest = min(states, key=tightness)
        headers |= {
            "RateLimit-Policy": ", ".join(policy(state) for state in states),
            "RateLimit": ", ".join(remaining(state) for state in states),
            "X-RateLimit-Limit": str(tightest.budget.limit),
            "X-RateLimit-Remaining": str(tightest.remaining),
            "X-RateLimit-Reset": str(tightest.resets_at if tightest.budget.resets else NEVER),
        }
    return headers | {"Access-Control-Expose-Headers": EXPOSED} if headers else {}


def tightness(state: BudgetState) -> tuple[bool, bool, int, bool, int]:
    """The smallest is the tightest. Amounts of other units can't be compared with requests."""
    budget = state.budget
    return not state.exceeded, budget.unit != REQUESTS, state.remaining, budget.resets, -state.reset_after


def policy(state: BudgetState) -> str:
    budget = state.budget
    unit = "" if budget.unit == REQUESTS else f';qu="{budget.unit}"'
    window = f";w={window_seconds(state)}" if budget.resets else ""
    return f"{quoted_name(budget)};q={budget.limit}{unit}{window}"


def remaining(state: BudgetState) -> str:
    time = f";t={state.reset_after}" if state.budget.resets else ""
    return f"{quoted_name(state.budget)};r={state.remaining}{time}"


def window_seconds(state: BudgetState) -> int:
    budget = state.budget
    if budget.window != "month":
        return WINDOW_SECONDS.get(budget.window, budget.period)
    start, end = month_bounds((state.resets_at - 1) * 1_000_000, budget.billing_day)
    return (end - start) // 1_000_000


def quoted_name(budget: Budget) -> str:
    name = budget.name or "limit"
    if not (name.isascii() and name.isprintable()):
        name = "".join(letter if " " <= letter <= "~" else "?" for letter in name)
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quota_exceeded(outcome: Outcome, **members: Any) -> JsonResponse:
    """429 problem details (RFC 9457) with further `members`, never cached."""
    response = problem(
        429,
        "Too many requests",
        f"Try again in {counted(outcome.retry_after, 'second')}.",
        type=QUOTA_EXCEEDED,
        **{"violated-policies": [state.budget.name for state in outcome.denying]},
        **members,
    )
    for name, value in {**rate_limit_headers(outcome), "Cache-Control": "no-store"}.items():
        response.headers[name] = value
    return response
