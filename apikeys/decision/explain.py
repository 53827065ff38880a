"""Every check of a decision for a request that isn't made. Nothing is counted or recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from apikeys.decision.checks import (
    ANONYMOUS_CHECKS,
    CHECKS,
    Check,
    Facts,
    Inquiry,
    deny_if_ambiguous,
    deny_if_expired,
    deny_unless_address_allowed,
    deny_unless_in_tier,
    deny_unless_known,
    deny_unless_owner_active,
    deny_unless_permitted,
    deny_unless_present,
    deny_unless_well_formed,
    inquiry_of,
    permits,
)
from apikeys.decision.decide import STATUSES, budgets_of, find_anonymous_tier
from apikeys.decision.imported import find_key
from apikeys.decision.lookup import KeyRecord, TierRecord
from config.base.access import Permission
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
    anonymous_tier: TierRecord | None = None
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
    secret = facts.credential.secret
    anonymous_tier = None if key else find_anonymous_tier([facts])
    inquiry = inquiry_of(facts, key or (find_key(secret) if secret else None), anonymous_tier)
    explanation = Explanation(key=inquiry.key, anonymous_tier=anonymous_tier)
    for check in CHECKS:
        result = run_check(check, inquiry, by_id=key is not None, undecided=explanation.allowed)
        explanation.checks.append(result)
    explanation.checks.append(check_limits(explanation, inquiry))
    return explanation


def run_check(check: Check, inquiry: Inquiry, *, by_id: bool, undecided: bool) -> CheckResult:
    if by_id and check.deny in CHECKS_OF_SECRET:
        return CheckResult(check.title, "skipped", detail="You entered the key's ID.")
    if inquiry.anonymous_tier is not None and check.deny is deny_unless_present:
        return CheckResult(check.title, "passed", detail="There is no API key, and ANONYMOUS_TIER doesn't need one.")
    if must_skip(check, inquiry):
        return CheckResult(check.title, "skipped")
    reason = check.deny(inquiry)
    describe = DETAILS.get(check.deny)
    detail = describe(inquiry) if describe else ""
    if reason:
        return CheckResult(check.title, "failed", reason, detail, decides=undecided)
    return CheckResult(check.title, "passed", detail=detail)


def must_skip(check: Check, inquiry: Inquiry) -> bool:
    if inquiry.anonymous_tier is not None and check not in ANONYMOUS_CHECKS:
        return True
    if check.deny is deny_unless_known:
        return bool(inquiry.facts.credential.problem)
    if check.deny in {deny_unless_permitted, deny_unless_in_tier} and not (inquiry.path or inquiry.resource):
        return True
    return nobody_asks(inquiry) and check.deny not in {*CHECKS_OF_SECRET, deny_if_ambiguous}


def nobody_asks(inquiry: Inquiry) -> bool:
    return inquiry.key is None and inquiry.anonymous_tier is None


def check_limits(explanation: Explanation, inquiry: Inquiry) -> CheckResult:
    if nobody_asks(inquiry) or not (inquiry.path or inquiry.resource):
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
    key = inquiry.known_key
    if key.grace_is_over:
        return "This is the secret from before the last rotation. Its grace period has ended."
    return "This is the secret from before the last rotation." if key.is_previous else ""


def describe_owner(inquiry: Inquiry) -> str:
    key = inquiry.known_key
    if not key.owner_is_live:
        return f"{key.username} is deleted."
    return key.username if key.owner_is_active else f"{key.username} is suspended."


def describe_address(inquiry: Inquiry) -> str:
    address, allowed = inquiry.facts.address or "No address", inquiry.known_key.allowed_ips
    return f"{address}. Allowed: {', '.join(allowed) or 'any address'}."


def describe_path(inquiry: Inquiry) -> str:
    try:
        return canonical_path(inquiry.facts.path) if inquiry.facts.path is not None else ""
    except AmbiguousPath as error:
        return str(error)


def describe_permission(inquiry: Inquiry) -> str:
    permissions = inquiry.known_key.permissions
    return describe_match(inquiry, permissions, f"The key has: {', '.join(permissions) or 'no permissions'}.")


def describe_tier(inquiry: Inquiry) -> str:
    rules, tier = inquiry.tier_access, inquiry.anonymous_tier
    if rules is None:
        return "The owner has no tier."
    name = tier.name if tier is not None else inquiry.known_key.tier_name
    return describe_match(inquiry, rules, f"The tier {name} has access to: {', '.join(rules) or 'nothing'}.")


def describe_match(inquiry: Inquiry, permissions: Sequence[str], otherwise: str) -> str:
    matching = next((permission for permission in permissions if permits(permission, inquiry)), None)
    if matching:
        return f"Allowed by “{matching}”."
    action, resource = inquiry.action or inquiry.facts.method, inquiry.resource or inquiry.path
    return f"Needed: {Permission(action, resource, inquiry.facts.host)}. {otherwise}"


CHECKS_OF_SECRET = frozenset({deny_unless_present, deny_unless_well_formed, deny_unless_known})
DETAILS: dict[Callable[[Inquiry], str], Callable[[Inquiry], Any]] = {
    deny_unless_known: describe_key,
    deny_if_expired: describe_expiry,
    deny_unless_owner_active: describe_owner,
    deny_unless_address_allowed: describe_address,
    deny_if_ambiguous: describe_path,
    deny_unless_permitted: describe_permission,
    deny_unless_in_tier: describe_tier,
}
