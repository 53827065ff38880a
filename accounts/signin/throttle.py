"""Limits on attempts to sign in, sign up, enter a code and have an email sent, counted by the project's own limiter.

All of them deny while the limiter's store is unavailable. docs/sign-in.md lists them.
"""

from __future__ import annotations

import contextlib
import hashlib

from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts.fields import normalize_login
from accounts.models import User
from config.base.http import client_address
from config.base.text import duration
from ratelimits.limiter import Budget, Outcome, limiter
from ratelimits.rules import owner_of_address
from ratelimits.stores import StoreUnavailable

MINUTE, HOUR = 60, 3600


def address_key(request: HttpRequest) -> str:
    return owner_of_address(client_address(request))


def digest(text: str) -> str:
    # Keys of counters contain no personal data and have a fixed length.
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def wrong_passwords(request: HttpRequest, user: User | str) -> Budget:
    """Wrong passwords for one user, or for one login that no user has, from one client address."""
    subject = f"account:{user.pk}" if isinstance(user, User) else digest(normalize_login(user))
    return Budget(f"sign-in:{subject}:{address_key(request)}", 5, 15 * MINUTE)


def wrong_passwords_of_anyone(request: HttpRequest) -> Budget:
    """Wrong passwords from one client address: password spraying tries many logins once."""
    return Budget(f"sign-in-address:{address_key(request)}", 15, 5 * MINUTE)


def wrong_codes(user: User) -> Budget:
    return Budget(f"code:{user.pk}", 5, 15 * MINUTE)


def code_use(user: User, code: str) -> Budget:
    # For longer than a code is valid. allauth keeps used codes in the cache of one process.
    bare = "".join(filter(str.isalnum, code)).casefold()  # allauth accepts 123-456 for 123456
    return Budget(f"code-used:{user.pk}:{digest(bare)}", 1, 5 * MINUTE)


def password_changes(user: User) -> Budget:
    return Budget(f"password-change:{user.pk}", 5, HOUR)


def sign_ups(request: HttpRequest) -> Budget:
    return Budget(f"sign-up:{address_key(request)}", 30, HOUR)


def reset_requests(request: HttpRequest) -> Budget:
    return Budget(f"reset:{address_key(request)}", 20, HOUR)


def emails_to(address: str) -> Budget:
    """Emails that anyone can have sent to an address: verification, password reset, “you already have an account”."""
    return Budget(f"mail:{digest(address)}", 5, HOUR)


def spend(request: HttpRequest, *budgets: Budget) -> None:
    """Count one attempt in all of `budgets`. Raises ValidationError, and counts none, if one of them is used up."""
    raise_if_denied(request, limiter().hit(list(budgets), fail_closed=True))


def try_spend(budget: Budget) -> bool:
    return limiter().hit([budget], fail_closed=True).allowed


def check(request: HttpRequest, budget: Budget) -> None:
    raise_if_denied(request, limiter().peek([budget], fail_closed=True))


def forgive(budget: Budget) -> None:
    with contextlib.suppress(StoreUnavailable):  # at worst the next wrong attempt is denied sooner
        limiter().reset([budget.key])


def raise_if_denied(request: HttpRequest, outcome: Outcome) -> None:
    if outcome.allowed:
        return
    request.throttled_for = outcome.retry_after  # type: ignore[attr-defined]
    # Without Redis the counters are in the database, and pages answer 503 then.
    request.throttled_by_outage = outcome.degraded and limiter().store.name != "redis"  # type: ignore[attr-defined]
    reason = "This isn't available right now." if outcome.degraded else "Too many attempts."
    raise ValidationError(f"{reason} Try again in {duration(outcome.retry_after)}.", code="throttled")


def retry_after(request: HttpRequest) -> int:
    """Seconds until the request can be repeated; 0 if it wasn't throttled."""
    return getattr(request, "throttled_for", 0)


def is_outage(request: HttpRequest) -> bool:
    return getattr(request, "throttled_by_outage", False)
