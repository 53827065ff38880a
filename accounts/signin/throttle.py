"""How often somebody may try: wrong passwords, codes, sign-ups and mails, counted in the project's own limiter.

Every budget here is *closed*: while the limiter's store is away, the attempt is refused. docs/sign-in.md lists the figures.
"""

from __future__ import annotations

import contextlib
import hashlib

from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts.fields import fold_sign_in_name
from accounts.models import User
from config.base.http import client_address
from config.base.text import duration
from ratelimits.limiter import Budget, Outcome, limiter
from ratelimits.rules import owner_of_address
from ratelimits.stores import StoreUnavailable

MINUTE, HOUR = 60, 3600


def address_key(request: HttpRequest) -> str:
    """The client's address as the limiter counts it: IPv4 as it is, IPv6 by its /64."""
    return owner_of_address(client_address(request))


def digest(text: str) -> str:
    """Names and addresses are counted, not kept: keys hold no personal data and have one length."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def wrong_passwords(request: HttpRequest, who: User | str) -> Budget:
    """Wrong passwords for one account, or for one name that no account has, in any spelling, from one client address."""
    subject = f"account:{who.pk}" if isinstance(who, User) else digest(fold_sign_in_name(who))
    return Budget(f"sign-in:{subject}:{address_key(request)}", 5, 15 * MINUTE)


def wrong_names(request: HttpRequest) -> Budget:
    """Wrong passwords from one address, whatever the names: a spray tries many names once."""
    return Budget(f"sign-in-address:{address_key(request)}", 15, 5 * MINUTE)


def wrong_codes(user: User) -> Budget:
    """Second-factor codes for one account; whoever gets here knows its password already."""
    return Budget(f"code:{user.pk}", 5, 15 * MINUTE)


def code_reuse(user: User, code: str) -> Budget:
    """One use of a code, for longer than it is valid: allauth remembers used codes in the cache of one process."""
    bare = "".join(filter(str.isalnum, code)).casefold()  # allauth takes 123-456 for 123456
    return Budget(f"code-used:{user.pk}:{digest(bare)}", 1, 5 * MINUTE)


def password_changes(user: User) -> Budget:
    return Budget(f"password-change:{user.pk}", 5, HOUR)


def sign_ups(request: HttpRequest) -> Budget:
    return Budget(f"sign-up:{address_key(request)}", 30, HOUR)


def reset_requests(request: HttpRequest) -> Budget:
    return Budget(f"reset:{address_key(request)}", 20, HOUR)


def mails_to(address: str) -> Budget:
    """Mails that strangers can have sent to one address: verification, reset, "you have an account already"."""
    return Budget(f"mail:{digest(address)}", 5, HOUR)


def spend(request: HttpRequest, *budgets: Budget) -> None:
    """Count one attempt in all of `budgets`, or in none of them. Raises ValidationError, with a time, when one is spent."""
    refuse_unless(request, limiter().hit(list(budgets), fail_closed=True))


def require(request: HttpRequest, *budgets: Budget) -> None:
    """Raise as `spend` would, but count nothing."""
    refuse_unless(request, limiter().peek(list(budgets), fail_closed=True))


def count(budget: Budget) -> None:
    """Count an attempt that failed already; whether there was room for it no longer matters."""
    limiter().hit([budget], fail_closed=True)


def is_left(*budgets: Budget) -> bool:
    """Count one attempt, if there is room for it; whether there was. For mails that are dropped without a word."""
    return limiter().hit(list(budgets), fail_closed=True).allowed


def forgive(budget: Budget) -> None:
    """Give the budget back in full: who was right at last did not guess."""
    with contextlib.suppress(StoreUnavailable):  # what stays counted only makes the next mistake dearer
        limiter().reset([budget.key])


def refuse_unless(request: HttpRequest, outcome: Outcome) -> None:
    if outcome.allowed:
        return
    request.throttled_for = outcome.retry_after  # type: ignore[attr-defined]
    # A Redis that is away is a trouble of its own; counters in a database share its trouble, and pages say 503 then.
    request.throttled_blindly = outcome.degraded and limiter().store.name != "redis"  # type: ignore[attr-defined]
    reason = "This does not work at the moment." if outcome.degraded else "Too many attempts."
    raise ValidationError(f"{reason} Try again in {duration(outcome.retry_after)}.", code="throttled")


def refused_for(request: HttpRequest) -> int:
    """After how many seconds what this request asked for can be tried again; 0 if the throttle let it through."""
    return getattr(request, "throttled_for", 0)


def is_outage(request: HttpRequest) -> bool:
    """Whether what this request asked for was refused because the database, or its disk, can't count at the moment."""
    return getattr(request, "throttled_blindly", False)
