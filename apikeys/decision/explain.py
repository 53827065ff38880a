"""Every check of a decision for a request that isn't made. Nothing is counted or recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apikeys.decision.decide import (
    CHECKS,
    STATUSES,
    Check,
    Facts,
    Inquiry,
    address_is_allowed,
    budgets_of,
    credential_is_present,
    credential_is_well_formed,
    key_has_permission,
    key_is_known,
    key_is_not_expired,
    owner_may_act,
    path_is_unambiguous,
    permits,
)
from apikeys.decision.lookup import KeyRecord
from ratelimits.budgets import BudgetState, Outcome
from ratelimits.limiter import limiter
from ratelimits.matching import AmbiguousPath, canonical_path

LIMITS_TITLE = "No rate limit is exceeded"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """result: passed, failed, or skipped if the check needs something that an earlier one didn't find."""

    title: str
    result: str
    reason: str = ""
    detail: str = ""
    decides: bool = False


@dataclass(slots=True)
class Explanation:
    checks: list[CheckResult] = field(default_factory=list)
    key: KeyRecord | None = None
    outcome: Outcome | None = None

    @property
    def reason(self) -> str:
        return next((check.reason for check in self.checks if check.decides), "")

    @property
    def allowed(self) -> bool:
        return not self.reason

    @property
    def status(self) -> int:
        return STATUSES.get(self.reason, 200)

    @property
    def limits(self) -> tuple[BudgetState, ...]:
        return self.outcome.states if self.outcome else ()


def explain(facts: Facts, key: KeyRecord | None = None) -> Explanation:
    """What `decide(facts)` would return now, with every check and the one that decides.

    With `key`, the checks of the secret are skipped.
    """
    inquiry = Inquiry(facts, key=key)
    explanation = Explanation()
    for check in CHECKS:
        result = run_check(check, inquiry, by_id=key is not None, undecided=explanation.allowed)
        explanation.checks.append(result)
    explanation.key = inquiry.key
    explanation.checks.append(check_limits(explanation, inquiry))
    return explanation


def run_check(check: Check, inquiry: Inquiry, *, by_id: bool, undecided: bool) -> CheckResult:
    if by_id and check.failure in CHECKS_OF_SECRET:
        return CheckResult(check.title, "skipped", detail="You entered the key's ID.")
    if must_skip(check, inquiry):
        return CheckResult(check.title, "skipped")
    reason = check.failure(inquiry)
    describe = DETAILS.get(check.failure)
    detail = describe(inquiry) if describe else ""
    if reason:
        return CheckResult(check.title, "failed", reason, detail, decides=undecided)
    return CheckResult(check.title, "passed", detail=detail)


def must_skip(check: Check, inquiry: Inquiry) -> bool:
    if check.failure is key_is_known:
        return bool(inquiry.facts.credential.problem)
    if check.failure is key_has_permission and not (inquiry.path or inquiry.resource):
        return True
    return inquiry.key is None and check.failure not in {*CHECKS_OF_SECRET, path_is_unambiguous}


def check_limits(explanation: Explanation, inquiry: Inquiry) -> CheckResult:
    if inquiry.key is None or not (inquiry.path or inquiry.resource):
        return CheckResult(LIMITS_TITLE, "skipped")
    budgets = budgets_of(inquiry)
    explanation.outcome = limiter().peek(budgets, inquiry.facts.cost)
    if explanation.outcome.allowed:
        return CheckResult(LIMITS_TITLE, "passed", detail="" if budgets else "No rate limit applies.")
    return CheckResult(LIMITS_TITLE, "failed", "rate_limited", decides=explanation.allowed)


def describe_key(inquiry: Inquiry) -> str:
    key = inquiry.key
    return f"{key.name} ({key.prefix}…{key.last4})" if key else ""


def describe_expiry(inquiry: Inquiry) -> str:
    key = inquiry.holder
    if key.grace_is_over:
        return "This is the secret from before the last rotation. Its grace period is over."
    return "This is the secret from before the last rotation." if key.is_previous else ""


def describe_owner(inquiry: Inquiry) -> str:
    key = inquiry.holder
    if not key.owner_is_live:
        return f"{key.username} is deleted."
    return key.username if key.owner_is_active else f"{key.username} is suspended."


def describe_address(inquiry: Inquiry) -> str:
    address, allowed = inquiry.facts.address or "No address", inquiry.holder.allowed_ips
    return f"{address}. Allowed: {', '.join(allowed) or 'any address'}."


def describe_path(inquiry: Inquiry) -> str:
    try:
        return canonical_path(inquiry.facts.path) if inquiry.facts.path is not None else ""
    except AmbiguousPath as error:
        return str(error)


def describe_permission(inquiry: Inquiry) -> str:
    permissions = inquiry.holder.permissions
    matching = next((permission for permission in permissions if permits(permission, inquiry)), None)
    if matching:
        return f"Allowed by “{matching}”."
    needed = f"{inquiry.action or inquiry.facts.method} {inquiry.resource or inquiry.path}"
    return f"Needed: {needed}. The key has: {', '.join(permissions) or 'no permissions'}."


CHECKS_OF_SECRET = frozenset({credential_is_present, credential_is_well_formed, key_is_known})
DETAILS: dict[Callable[[Inquiry], str], Callable[[Inquiry], Any]] = {
    key_is_known: describe_key,
    key_is_not_expired: describe_expiry,
    owner_may_act: describe_owner,
    address_is_allowed: describe_address,
    path_is_unambiguous: describe_path,
    key_has_permission: describe_permission,
}
