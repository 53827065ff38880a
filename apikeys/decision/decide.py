"""May these keys make these requests now? One function from facts to verdicts, for every way of asking.

Verdicts aren't cached: a key revoked now is denied on the next request, on every worker.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from apikeys.decision import ledger, upkeep
from apikeys.decision.checks import Facts, Inquiry, inquiry_of, reason_to_deny
from apikeys.decision.credentials import MISSING
from apikeys.decision.imported import take_over
from apikeys.decision.lookup import KeyRecord, TierRecord, find_keys, find_tier
from apikeys.secrets.foreign import starts_of
from config.base.database import drop_connection, unavailable_error
from config.base.models import uuid7
from ratelimits.budgets import Budget, Charge, Outcome
from ratelimits.limiter import limiter
from ratelimits.rules import NO_RULES, budget_of_key, budgets_for, own_rules, owner_of_address, owner_of_user

logger = logging.getLogger(__name__)

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
    "tier_denied": 403,
    "rate_limited": 429,
}


class Verdict(NamedTuple):
    """`reason` is empty if the request is allowed. `event_id` is None without a known key: then there is no usage row.

    error: why nothing could be decided; status is then 503. anonymous_tier: of a request without a key, if ANONYMOUS_TIER
    allows that.
    """

    allowed: bool
    status: int
    reason: str = ""
    key: KeyRecord | None = None
    outcome: Outcome | None = None
    event_id: UUID | None = None
    error: Exception | None = None
    anonymous_tier: TierRecord | None = None


def decide(facts: Facts) -> Verdict:
    """Decide, charge the request and write its usage row, which is durable when this returns.

    Raises django.db.Error if the database is unavailable: the caller must then deny the request.
    """
    verdict = decide_many([facts])[0]
    if verdict.error is not None:
        raise verdict.error
    return verdict


def decide_many(asked: Sequence[Facts]) -> list[Verdict]:
    """Like `decide`, for all of `asked` together, charged in order. Doesn't raise: see Verdict.error."""
    verdicts = decide_at_once(asked)
    for number, (facts, verdict) in enumerate(zip(asked, verdicts, strict=True)):
        if may_be_imported(facts, verdict):
            verdicts[number] = decide_imported(facts, verdict)
    return verdicts


def may_be_imported(facts: Facts, verdict: Verdict) -> bool:
    """Whether the key is unknown so far, but may be an imported one whose hash is slow to check."""
    return verdict.reason == "unknown_key" and bool(starts_of(facts.credential.secret))


def decide_imported(facts: Facts, verdict: Verdict) -> Verdict:
    """The verdict on a key that `may_be_imported`: checks its hash, which can take a second. Doesn't raise."""
    try:
        return decide_at_once([facts])[0] if take_over(facts.credential.secret) else verdict
    except Exception as error:  # noqa: BLE001  (in the verdict, for the caller to tell)
        return failed(error)


def decide_at_once(asked: Sequence[Facts]) -> list[Verdict]:
    """Like `decide_many`, but imported keys whose hash is slow to check are unknown.

    If one of them makes a statement fail, they're decided one by one, so that it fails alone.
    """
    try:
        return judge(asked)
    except Exception as error:  # noqa: BLE001  (in each verdict, for the caller to tell)
        if len(asked) > 1 and unavailable_error(error) is None:
            return [verdict for facts in asked for verdict in decide_at_once([facts])]
        if unavailable_error(error) is not None:
            drop_connection()
        return [failed(error)] * len(asked)


def failed(error: Exception) -> Verdict:
    return Verdict(allowed=False, status=503, error=error)


def judge(asked: Sequence[Facts]) -> list[Verdict]:
    """Raises only if nothing was charged, or for a single request."""
    keys = find_keys({facts.credential.secret for facts in asked if not facts.credential.problem})
    tier = find_anonymous_tier(asked)
    inquiries = [
        inquiry_of(facts, keys.get(facts.credential.secret), tier if tier is not None and is_anonymous(facts) else None)
        for facts in asked
    ]
    reasons = [reason_to_deny(inquiry) for inquiry in inquiries]
    known = [number for number, inquiry in enumerate(inquiries) if inquiry.key is not None]
    lines = [line_of(inquiries[number], reasons[number]) for number in known]
    results = ledger.settle(lines) if lines else []
    verdicts = [Verdict(allowed=False, status=STATUSES.get(reason, 503), reason=reason) for reason in reasons]
    for number, line, result in zip(known, lines, results, strict=True):
        verdicts[number] = verdict_of(inquiries[number], reasons[number], line, result)
    if tier is not None:
        anonymous = [number for number, inquiry in enumerate(inquiries) if inquiry.anonymous_tier is not None]
        judged = judge_anonymous([(inquiries[number], reasons[number]) for number in anonymous])
        for number, verdict in zip(anonymous, judged, strict=True):
            verdicts[number] = verdict
    keep_up(inquiries, verdicts)
    note_denials(lines, results)
    return verdicts


def note_denials(lines: Sequence[ledger.LedgerLine], results: Sequence[Outcome | Exception | None]) -> None:
    try:
        ledger.note_denials(lines, results)
    except DatabaseError:
        logger.exception("The rate limits that denied requests could not be written")


def is_anonymous(facts: Facts) -> bool:
    """Whether the request has no credential and ANONYMOUS_TIER judges it."""
    return bool(settings.ANONYMOUS_TIER) and facts.credential == MISSING and not facts.needs_key


def find_anonymous_tier(asked: Sequence[Facts]) -> TierRecord | None:
    """The tier of requests without a key; None if they are denied, or if there are none."""
    return find_tier(settings.ANONYMOUS_TIER) if any(map(is_anonymous, asked)) else None


def judge_anonymous(checked: Sequence[tuple[Inquiry, str]]) -> list[Verdict]:
    """Charge the requests without a key that nothing denied. They leave no usage row. Doesn't raise: others are charged.

    checked: each request with its reason to be denied, or an empty one.
    """
    try:
        charges = [Charge([] if reason else budgets_of(inquiry), inquiry.facts.cost) for inquiry, reason in checked]
        outcomes = limiter().hit_many(charges)
    except Exception as error:  # noqa: BLE001  (in each verdict, for the caller to tell)
        return [failed(error)] * len(checked)
    return [
        anonymous_verdict(inquiry, reason, outcome)
        for (inquiry, reason), outcome in zip(checked, outcomes, strict=True)
    ]


def anonymous_verdict(inquiry: Inquiry, reason: str, outcome: Outcome) -> Verdict:
    tier = inquiry.anonymous_tier
    if reason:
        return Verdict(allowed=False, status=STATUSES[reason], reason=reason, anonymous_tier=tier)
    reason = "" if outcome.allowed else "rate_limited"
    return Verdict(not reason, STATUSES.get(reason, 200), reason, outcome=outcome, anonymous_tier=tier)


def line_of(inquiry: Inquiry, reason: str) -> ledger.LedgerLine:
    facts = inquiry.facts
    entry = ledger.entry(
        uuid7(),
        inquiry.known_key,
        method=facts.method,
        endpoint=inquiry.endpoint,
        address=facts.address,
        user_agent=facts.user_agent,
        host=facts.host,
    )
    if reason:
        return ledger.LedgerLine(entry, status=STATUSES[reason], reason=reason)
    return ledger.LedgerLine(entry, budgets_of(inquiry), facts.cost)


def budgets_of(inquiry: Inquiry) -> list[Budget]:
    """The budgets to charge: the owner's for the path, and the key's own. Without a key, the client's."""
    if not settings.RATE_LIMITER_ENABLED:
        return []
    tier = inquiry.anonymous_tier
    if tier is not None:
        owner = owner_of_address(inquiry.facts.address)
        return budgets_for(owner, tier.id, inquiry.facts.method, inquiry.limit_path, inquiry.facts.host)
    key = inquiry.known_key
    budgets = budgets_for(
        owner_of_user(key.user_id),
        key.tier_id,
        inquiry.facts.method,
        inquiry.limit_path,
        inquiry.facts.host,
        own=own_rules(key.own_limits) if key.own_limits else NO_RULES,
        billing_day=key.billing_day,
    )
    if key.rate_limit and key.rate_period:
        budgets.append(budget_of_key(key.id, key.rate_limit, key.rate_period, key.rate_window, key.billing_day))
    return budgets


def verdict_of(inquiry: Inquiry, reason: str, line: ledger.LedgerLine, result: Outcome | Exception | None) -> Verdict:
    if isinstance(result, Exception):
        return failed(result)
    if result is not None and not result.allowed:
        reason = "rate_limited"
    status = STATUSES[reason] if reason else 200
    return Verdict(not reason, status, reason, inquiry.key, result, line.entry.event_id)


def keep_up(inquiries: Sequence[Inquiry], verdicts: Sequence[Verdict]) -> None:
    """Record the last use of the keys of allowed requests. If that fails, the verdicts stand."""
    used = [
        inquiry
        for inquiry, verdict in zip(inquiries, verdicts, strict=True)
        if verdict.allowed and inquiry.key is not None and (inquiry.key.use_is_due or inquiry.key.is_outdated)
    ]
    if not used:
        return
    try:
        upkeep.note_uses((inquiry.known_key, inquiry.facts.address) for inquiry in used)
    except DatabaseError:
        logger.exception("The last use of keys could not be written")
    for inquiry in used:
        try:
            upkeep.rehash(inquiry.known_key, inquiry.facts.credential.secret)
        except DatabaseError:
            logger.exception("The hash of a key could not be replaced")
