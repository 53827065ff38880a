"""May this key make this request now? One function from a request's facts to a verdict, for every way of asking.

The checks stand in CHECKS in their documented order (docs/decision.md); the first that fails answers. Nothing about a
verdict is kept: a key revoked now is refused on the next request, on every worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from apikeys.addresses import within
from apikeys.decision import ledger, upkeep
from apikeys.decision.credentials import Credential
from apikeys.decision.lookup import KeyRecord, find_key
from config.base.models import uuid7
from ratelimits.budgets import Budget, Outcome
from ratelimits.matching import AmbiguousPath, canonical_path, pattern_matches
from ratelimits.rules import budgets_for, owner_of_user

STATUSES = {
    "missing_key": 401,
    "malformed_key": 401,
    "unknown_key": 401,
    "revoked_key": 401,
    "disabled_key": 401,
    "expired_key": 401,
    "owner_inactive": 401,
    "address_not_allowed": 403,
    "ambiguous_path": 403,
    "permission_denied": 403,
    "rate_limited": 429,
}
ACTIONS = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "POST": "create",
    "PUT": "update",
    "PATCH": "update",
    "DELETE": "delete",
}
EVERYTHING = ("*", "/*")


class Facts(NamedTuple):
    """What is asked: the original request as the gateway saw it, or what a service says about its own."""

    credential: Credential
    method: str
    # As received: not decoded, with its query. None when a service asks about a named resource only.
    path: str | None
    # The client's address; empty if the asker does not know it.
    address: str = ""
    user_agent: str = ""
    # Asked by name instead of derived from path and method.
    resource: str = ""
    action: str = ""
    # How much of each budget the request takes; 0 asks without taking.
    cost: int = 1


@dataclass(slots=True)
class Inquiry:
    """The facts, and what the checks found out on their way."""

    facts: Facts
    key: KeyRecord | None = None
    # The path in its one form, and the path or name that permissions are asked for; empty until their check.
    path: str = ""
    resource: str = ""

    @property
    def holder(self) -> KeyRecord:
        """The key, for the checks that come after `key_is_known`."""
        if self.key is None:
            raise LookupError("The key is not known yet.")
        return self.key

    @property
    def action(self) -> str:
        """read, create, update or delete; empty for a method that is none of them, which only “*” permits."""
        return self.facts.action or ACTIONS.get(self.facts.method, "")

    @property
    def limit_path(self) -> str:
        """The path whose rate limits apply; a named resource counts as the path of that name."""
        return self.path or f"/{self.resource.strip('/')}"

    @property
    def endpoint(self) -> str:
        """What the usage row calls the thing asked for: the path, else the resource's name."""
        return self.path or self.resource or (self.facts.path or self.facts.resource).partition("?")[0]


class Verdict(NamedTuple):
    """The answer. `reason` is empty when allowed; `event_id` is None when no known key was named: no row was written."""

    allowed: bool
    status: int
    reason: str = ""
    key: KeyRecord | None = None
    outcome: Outcome | None = None
    event_id: UUID | None = None


def decide(facts: Facts) -> Verdict:
    """Judge `facts`, count the request and write its usage row; the row is durable when this returns.

    Raises django.db.Error when the database cannot be asked: the caller must then refuse.
    """
    inquiry = Inquiry(facts)
    for check in CHECKS:
        reason = check.failure(inquiry)
        if reason:
            return refuse(inquiry, reason)
    return count(inquiry)


def refuse(inquiry: Inquiry, reason: str) -> Verdict:
    """The verdict of a failed check; recorded if the key is known."""
    status = STATUSES[reason]
    if inquiry.key is None:
        return Verdict(allowed=False, status=status, reason=reason)
    event_id = uuid7()
    ledger.write(entry_of(inquiry, event_id), status, reason)
    return Verdict(allowed=False, status=status, reason=reason, key=inquiry.key, event_id=event_id)


def count(inquiry: Inquiry) -> Verdict:
    """The verdict of a request that passed every check: its budgets decide, and it is recorded."""
    key, event_id = inquiry.holder, uuid7()
    entry = entry_of(inquiry, event_id)
    outcome = ledger.settle(entry, budgets_of(inquiry), inquiry.facts.cost)
    if not outcome.allowed:
        return Verdict(allowed=False, status=429, reason="rate_limited", key=key, outcome=outcome, event_id=event_id)
    upkeep.note_use(key, entry["address"])
    upkeep.rehash(key, inquiry.facts.credential.secret)
    return Verdict(allowed=True, status=200, key=key, outcome=outcome, event_id=event_id)


def entry_of(inquiry: Inquiry, event_id: UUID) -> ledger.Entry:
    facts = inquiry.facts
    return ledger.entry(
        event_id,
        inquiry.holder,
        method=facts.method,
        endpoint=inquiry.endpoint,
        address=facts.address,
        user_agent=facts.user_agent,
    )


def budgets_of(inquiry: Inquiry) -> list[Budget]:
    """The budgets the request takes from: its owner's for the path, and the key's own."""
    if not settings.RATE_LIMITER_ENABLED:
        return []
    key = inquiry.holder
    budgets = list(budgets_for(owner_of_user(key.user_id), key.tier_id, inquiry.facts.method, inquiry.limit_path))
    if key.rate_limit and key.rate_period:
        budgets.append(Budget(f"key:{key.id}", key.rate_limit, key.rate_period, name="key"))
    return budgets


# --- The checks: each answers with its reason if it fails, else with nothing -----------------------------------------


def credential_is_present(inquiry: Inquiry) -> str:
    problem = inquiry.facts.credential.problem
    return problem if problem == "missing_key" else ""


def credential_is_well_formed(inquiry: Inquiry) -> str:
    return inquiry.facts.credential.problem


def key_is_known(inquiry: Inquiry) -> str:
    inquiry.key = find_key(inquiry.facts.credential.secret)
    return "" if inquiry.key else "unknown_key"


def key_is_not_revoked(inquiry: Inquiry) -> str:
    return "revoked_key" if inquiry.holder.is_revoked else ""


def key_is_enabled(inquiry: Inquiry) -> str:
    return "" if inquiry.holder.is_active else "disabled_key"


def key_is_not_expired(inquiry: Inquiry) -> str:
    return "expired_key" if inquiry.holder.is_expired or inquiry.holder.grace_is_over else ""


def owner_may_act(inquiry: Inquiry) -> str:
    return "" if inquiry.holder.owner_is_active and inquiry.holder.owner_is_live else "owner_inactive"


def address_is_allowed(inquiry: Inquiry) -> str:
    allowed = inquiry.holder.allowed_ips
    return "" if not allowed or within(inquiry.facts.address, tuple(allowed)) else "address_not_allowed"


def path_is_unambiguous(inquiry: Inquiry) -> str:
    facts = inquiry.facts
    try:
        inquiry.path = canonical_path(facts.path) if facts.path is not None else ""
        inquiry.resource = canonical_path(facts.resource) if facts.resource.startswith("/") else facts.resource
    except AmbiguousPath:
        return "ambiguous_path"
    return ""


def key_has_permission(inquiry: Inquiry) -> str:
    allowed = any(permits(permission, inquiry) for permission in inquiry.holder.permissions)
    return "" if allowed else "permission_denied"


def permits(permission: str, inquiry: Inquiry) -> bool:
    action, _, resource = permission.partition(" ")
    return action in {"*", inquiry.action} and covers(resource, inquiry.resource or inquiry.path)


def covers(resource: str, asked: str) -> bool:
    """Whether a permission's resource stands for what is asked: everything, the same name, or a pattern it fits."""
    if resource in EVERYTHING:
        return True
    if resource.startswith("/") and asked.startswith("/"):
        return pattern_matches(resource, asked)
    return resource == asked


class Check(NamedTuple):
    title: str
    failure: Callable[[Inquiry], str]


CHECKS = (
    Check("Credentials are present", credential_is_present),
    Check("The key is well formed", credential_is_well_formed),
    Check("The key is known", key_is_known),
    Check("The key is not revoked", key_is_not_revoked),
    Check("The key is enabled", key_is_enabled),
    Check("The key is not expired", key_is_not_expired),
    Check("The owner is live and active", owner_may_act),
    Check("The address is allowed", address_is_allowed),
    Check("The path is unambiguous", path_is_unambiguous),
    Check("The key has the permission", key_has_permission),
)
