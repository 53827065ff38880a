"""Why is this key refused? Every check of the decision for a request that is not made: nothing is counted or recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apikeys.decision import decide as decision
from apikeys.decision.decide import STATUSES, Facts, Inquiry
from apikeys.decision.lookup import KeyRecord
from ratelimits.budgets import BudgetState, Outcome
from ratelimits.limiter import limiter
from ratelimits.matching import AmbiguousPath, canonical_path

LIMITS_TITLE = "The limits have room"


@dataclass(frozen=True, slots=True)
class Step:
    """One check. result: passed, failed or skipped (it cannot be judged without what an earlier one looks for)."""

    title: str
    result: str
    reason: str = ""
    detail: str = ""
    decides: bool = False


@dataclass(slots=True)
class Explanation:
    steps: list[Step] = field(default_factory=list)
    key: KeyRecord | None = None
    outcome: Outcome | None = None

    @property
    def reason(self) -> str:
        return next((step.reason for step in self.steps if step.decides), "")

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
    """What `decide(facts)` would answer now, with every check and the one that decides.

    key: the key, when it is known by its id; the checks of the credential and of its being known are then skipped.
    """
    inquiry = Inquiry(facts, key=key)
    found = Explanation()
    for check in decision.CHECKS:
        found.steps.append(step_of(check, inquiry, undecided=found.allowed, by_id=key is not None))
    found.key = inquiry.key
    found.steps.append(limits_step(found, inquiry))
    return found


def step_of(check: decision.Check, inquiry: Inquiry, *, undecided: bool, by_id: bool) -> Step:
    if by_id and check.failure in OF_THE_SECRET:
        return Step(check.title, "skipped", detail="The key was named by its id.")
    if cannot_be_judged(check, inquiry):
        return Step(check.title, "skipped")
    reason = check.failure(inquiry)
    detail = DETAILS.get(check.failure, nothing)(inquiry)
    if reason:
        return Step(check.title, "failed", reason, detail, decides=undecided)
    return Step(check.title, "passed", detail=detail)


def cannot_be_judged(check: decision.Check, inquiry: Inquiry) -> bool:
    if check.failure is decision.key_is_known:
        return bool(inquiry.facts.credential.problem)
    if check.failure is decision.key_has_permission and not (inquiry.path or inquiry.resource):
        return True
    return inquiry.key is None and check.failure not in {*OF_THE_SECRET, decision.path_is_unambiguous}


def limits_step(found: Explanation, inquiry: Inquiry) -> Step:
    if inquiry.key is None or not (inquiry.path or inquiry.resource):
        return Step(LIMITS_TITLE, "skipped")
    budgets = decision.budgets_of(inquiry)
    found.outcome = limiter().peek(budgets, inquiry.facts.cost)
    if found.outcome.allowed:
        return Step(LIMITS_TITLE, "passed", detail="" if budgets else "No limit applies.")
    return Step(LIMITS_TITLE, "failed", "rate_limited", decides=found.allowed)


# --- What a check looked at, for people ------------------------------------------------------------------------------


def nothing(inquiry: Inquiry) -> str:
    return ""


def about_key(inquiry: Inquiry) -> str:
    key = inquiry.key
    return f"{key.name} ({key.prefix}…{key.last4})" if key else ""


def about_expiry(inquiry: Inquiry) -> str:
    key = inquiry.holder
    if key.grace_is_over:
        return "This is the secret before the last rotation, and its grace is over."
    return "This is the secret before the last rotation." if key.is_previous else ""


def about_owner(inquiry: Inquiry) -> str:
    key = inquiry.holder
    if not key.owner_is_live:
        return f"{key.username} is deleted."
    return key.username if key.owner_is_active else f"{key.username} is suspended."


def about_address(inquiry: Inquiry) -> str:
    asked, allowed = inquiry.facts.address or "no address", inquiry.holder.allowed_ips
    return f"{asked}; allowed: {', '.join(allowed)}" if allowed else f"{asked}; any address is allowed"


def about_path(inquiry: Inquiry) -> str:
    try:
        return canonical_path(inquiry.facts.path) if inquiry.facts.path is not None else ""
    except AmbiguousPath as error:
        return str(error)


def about_permission(inquiry: Inquiry) -> str:
    held = inquiry.holder.permissions
    fitting = [permission for permission in held if decision.permits(permission, inquiry)]
    if fitting:
        return f"By “{fitting[0]}”."
    wanted = f"{inquiry.action or inquiry.facts.method} {inquiry.resource or inquiry.path}"
    return f"Asked: {wanted}. Held: {', '.join(held) or 'none'}."


OF_THE_SECRET = frozenset({decision.credential_is_present, decision.credential_is_well_formed, decision.key_is_known})
DETAILS: dict[Callable[[Inquiry], str], Callable[[Inquiry], Any]] = {
    decision.key_is_known: about_key,
    decision.key_is_not_expired: about_expiry,
    decision.owner_may_act: about_owner,
    decision.address_is_allowed: about_address,
    decision.path_is_unambiguous: about_path,
    decision.key_has_permission: about_permission,
}
