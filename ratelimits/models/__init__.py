"""Rate limits, and what is recorded of them."""

from __future__ import annotations

from ratelimits.models.limits import (
    MAX_AMOUNT,
    MAX_LIMIT,
    PERIODS,
    RULE,
    RateLimit,
    RateLimitManager,
    RateLimitQuerySet,
)
from ratelimits.models.records import Balance, Denial, DenialQuerySet, Outage

__all__ = [
    "MAX_AMOUNT",
    "MAX_LIMIT",
    "PERIODS",
    "RULE",
    "Balance",
    "Denial",
    "DenialQuerySet",
    "Outage",
    "RateLimit",
    "RateLimitManager",
    "RateLimitQuerySet",
]
