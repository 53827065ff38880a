"""The checks of a decision that need no counter, in their documented order (docs/decision.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from apikeys.addresses import within
from apikeys.decision.credentials import Credential
from apikeys.decision.lookup import KeyRecord, TierRecord
from config.base.access import EVERYTHING
from config.base.hosts import host_matches
from ratelimits.matching import AmbiguousPath, canonical_path, pattern_matches

ACTION_OF_METHOD = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "POST": "create",
    "PUT": "update",
    "PATCH": "update",
    "DELETE": "delete",
}
ANY_RESOURCE = ("*", "/*")
UNRESTRICTED = str(EVERYTHING)


class Facts(NamedTuple):
    """What is asked: the original request as the gateway saw it, or what a service says about its own."""

    credential: Credential
    method: str
    # As received: not decoded, with its query. None when a service asks about a named resource only.
    path: str | None
    # The client's address; empty if the gateway or service doesn't know it.
    address: str = ""
    user_agent: str = ""
    # Asked by name instead of derived from path and method.
    resource: str = ""
    action: str = ""
    # How much to charge to each budget; 0 checks without charging.
    cost: int = 1
    # In normal form (config/base/hosts.py); empty if unknown: then only rules for any host match.
    host: str = ""
    # Deny the request without a key, whatever ANONYMOUS_TIER says.
    needs_key: bool = False


class Inquiry(NamedTuple):
    """The facts, their key, and path and resource in canonical form, which is empty if ambiguous."""

    facts: Facts
    key: KeyRecord | None
    path: str = ""
    resource: str = ""
    is_ambiguous: bool = False
    # Set if the request has no key and needs none.
    anonymous_tier: TierRecord | None = None

    @property
    def known_key(self) -> KeyRecord:
        """The key, for everything that comes after `deny_unless_known`."""
        if self.key is None:
            raise LookupError("The key is not known.")
        return self.key

    @property
    def tier_access(self) -> Sequence[str] | None:
        """What the tier lists; None without a tier."""
        if self.anonymous_tier is not None:
            return self.anonymous_tier.access
        return self.known_key.tier_access if self.known_key.tier_id is not None else None

    @property
    def action(self) -> str:
        """read, create, update or delete; empty for a method that is none of them, which only “*” permits."""
        return self.facts.action or ACTION_OF_METHOD.get(self.facts.method, "")

    @property
    def limit_path(self) -> str:
        """The path whose rate limits apply; a named resource counts as the path of that name."""
        return self.path or f"/{self.resource.strip('/')}"

    @property
    def endpoint(self) -> str:
        """What the usage row records: the path, else the resource's name."""
        return self.path or self.resource or (self.facts.path or self.facts.resource).partition("?")[0]


def inquiry_of(facts: Facts, key: KeyRecord | None, anonymous_tier: TierRecord | None = None) -> Inquiry:
    try:
        path = canonical_path(facts.path) if facts.path is not None else ""
        resource = canonical_path(facts.resource) if facts.resource.startswith("/") else facts.resource
    except AmbiguousPath:
        return Inquiry(facts, key, is_ambiguous=True, anonymous_tier=anonymous_tier)
    return Inquiry(facts, key, path, resource, anonymous_tier=anonymous_tier)


def reason_to_deny(inquiry: Inquiry) -> str:
    """The reason of the first check that fails; empty if none does."""
    for check in CHECKS if inquiry.anonymous_tier is None else ANONYMOUS_CHECKS:
        if reason := check.deny(inquiry):
            return reason
    return ""


# Each returns its reason to deny the request, or nothing.


def deny_unless_present(inquiry: Inquiry) -> str:
    problem = inquiry.facts.credential.problem
    return problem if problem == "missing_key" else ""


def deny_unless_well_formed(inquiry: Inquiry) -> str:
    return inquiry.facts.credential.problem


def deny_unless_known(inquiry: Inquiry) -> str:
    return "" if inquiry.key else "unknown_key"


def deny_if_revoked(inquiry: Inquiry) -> str:
    return "revoked_key" if inquiry.known_key.is_revoked else ""


def deny_if_disabled(inquiry: Inquiry) -> str:
    return "" if inquiry.known_key.is_active else "disabled_key"


def deny_if_expired(inquiry: Inquiry) -> str:
    return "expired_key" if inquiry.known_key.is_expired or inquiry.known_key.grace_is_over else ""


def deny_unless_owner_active(inquiry: Inquiry) -> str:
    key = inquiry.known_key
    return "" if key.owner_is_active and key.owner_is_live else "owner_inactive"


def deny_unless_address_allowed(inquiry: Inquiry) -> str:
    allowed = inquiry.known_key.allowed_ips
    return "" if not allowed or within(inquiry.facts.address, tuple(allowed)) else "address_not_allowed"


def deny_if_ambiguous(inquiry: Inquiry) -> str:
    return "ambiguous_path" if inquiry.is_ambiguous else ""


def deny_unless_permitted(inquiry: Inquiry) -> str:
    return "" if permitted(inquiry.known_key.permissions, inquiry) else "permission_denied"


def deny_unless_in_tier(inquiry: Inquiry) -> str:
    rules = inquiry.tier_access
    return "" if rules is None or permitted(rules, inquiry) else "tier_denied"


def permitted(rules: Sequence[str], inquiry: Inquiry) -> bool:
    return UNRESTRICTED in rules or any(permits(rule, inquiry) for rule in rules)


def permits(permission: str, inquiry: Inquiry) -> bool:
    action, resource, host = parts_of(permission)
    return (
        action in {"*", inquiry.action}
        and covers(resource, inquiry.resource or inquiry.path)
        and (not host or host_matches(host, inquiry.facts.host))
    )


@lru_cache(maxsize=4096)
def parts_of(permission: str) -> tuple[str, str, str]:
    """Action, resource and host, which is empty for any."""
    action, resource, *at_host = permission.split(" ")
    return action, resource, at_host[-1] if at_host else ""


def covers(resource: str, asked: str) -> bool:
    """Whether a permission's resource covers the request: it's everything, the same name, or a pattern that matches."""
    if resource in ANY_RESOURCE:
        return True
    if resource.startswith("/") and asked.startswith("/"):
        return pattern_matches(resource, asked)
    return resource == asked


class Check(NamedTuple):
    title: str
    deny: Callable[[Inquiry], str]


CHECKS = (
    Check("Credentials are present", deny_unless_present),
    Check("The key is well formed", deny_unless_well_formed),
    Check("The key is known", deny_unless_known),
    Check("The key is not revoked", deny_if_revoked),
    Check("The key is enabled", deny_if_disabled),
    Check("The key is not expired", deny_if_expired),
    Check("The owner is live and active", deny_unless_owner_active),
    Check("The address is allowed", deny_unless_address_allowed),
    Check("The path is unambiguous", deny_if_ambiguous),
    Check("The key has the permission", deny_unless_permitted),
    Check("The tier has access", deny_unless_in_tier),
)
# Without a key, if ANONYMOUS_TIER allows that.
ANONYMOUS_CHECKS = tuple(check for check in CHECKS if check.deny in {deny_if_ambiguous, deny_unless_in_tier})
