"""What staff do to rate limits and counters: copy limits to another tier, change their mode, reset counters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from config.base.history import ADDITION, CHANGE, Author, changes_between, snapshot
from ratelimits.budgets import amount_in_words, rule_key
from ratelimits.limiter import limiter
from ratelimits.models import Denial, RateLimit, RateLimitQuerySet
from ratelimits.rules import default_budget, forget_rules
from tiers.models import Tier

# What a copy of a rate limit takes over.
COPIED_FIELDS = ("host", "path", "method", "limit", "unit", "period", "window", "overall", "mode")


class CopyPlan(NamedTuple):
    """The new limits (not saved by a plan), and those skipped with the reason."""

    new: list[RateLimit]
    skipped: list[tuple[RateLimit, str]]


def plan_copy(source: Tier, target: Tier) -> CopyPlan:
    new: list[RateLimit] = []
    skipped: list[tuple[RateLimit, str]] = []
    existing = {limit.rule for limit in target.rate_limits.live()}
    for limit in source.rate_limits.live().order_by("path", "method", "period"):
        if limit.rule in existing:
            skipped.append(
                (limit, f"“{target}” already has a rate limit with this host, path, method, window, period and unit.")
            )
        else:
            copy = RateLimit(tier=target, **{name: getattr(limit, name) for name in COPIED_FIELDS})
            copy.name = copied_name(limit, target)
            new.append(copy)
    return CopyPlan(new, skipped)


def copied_name(limit: RateLimit, target: Tier) -> str:
    """The limit's name followed by the tier's; empty, so that one is generated, if that is taken or too long."""
    name = f"{limit.name}-{target.name}"
    longest = RateLimit._meta.get_field("name").max_length or 0
    return "" if len(name) > longest or RateLimit.objects.live().filter(name=name).exists() else name


def copy_limits(source: Tier, target: Tier, author: Author) -> CopyPlan:
    """Copy the live limits of `source` that `target` doesn't have and that can apply there. Returns what was done."""
    plan = plan_copy(source, target)
    done = CopyPlan([], plan.skipped)
    with transaction.atomic():
        for copy in plan.new:
            try:
                copy.full_clean()
            except ValidationError as error:
                done.skipped.append((copy, " ".join(error.messages)))
                continue
            copy.save()
            done.new.append(copy)
            changes = changes_between({}, snapshot(copy))
            author.record(copy, ADDITION, changes=changes, note=f"Copied from “{source}”.")
    forget_rules()
    return done


def set_mode(limits: Iterable[RateLimit], mode: str, author: Author) -> int:
    changed = 0
    with transaction.atomic():
        for limit in limits:
            if limit.mode != mode:
                before = snapshot(limit)
                limit.mode = mode
                limit.save(update_fields=["mode"])
                author.record(limit, CHANGE, changes=changes_between(before, snapshot(limit)))
                changed += 1
    forget_rules()
    return changed


def totals_of(user: Any) -> RateLimitQuerySet:
    """The user's prepaid limits that are in force."""
    effective: RateLimitQuerySet = RateLimit.objects.effective()
    return effective.filter(user=user, window=RateLimit.Window.TOTAL).order_by("name")


def top_up(limit: RateLimit, amount: int, author: Author) -> RateLimit:
    """Add `amount` to a user's total. Returns the limit as it is afterwards. Raises ValidationError."""
    if amount < 1:
        raise ValidationError("Enter an amount of 1 or more.")
    with transaction.atomic():
        raised: RateLimit | None = totals_of(limit.user_id).select_for_update(of=("self",)).filter(pk=limit.pk).first()
        if raised is None:
            raise ValidationError("This rate limit was deleted, has ended, or isn't a total. Choose another one.")
        room = raised.max_limit - raised.limit
        if amount > room:
            raise ValidationError(f"The limit can be at most {raised.max_limit:,}: enter an amount up to {room:,}.")
        before = snapshot(raised)
        raised.limit += amount
        raised.save(update_fields=["limit"])
        note = f"Topped up by {amount_in_words(amount, raised.unit)}."
        former = {"limit": raised.limit - amount}
        author.record(raised, CHANGE, changes=changes_between(before, snapshot(raised)), note=note, former=former)
    forget_rules()
    return raised


def reset_owner(owner: str, author: Author) -> int:
    """Forget what was counted for this owner. Returns the number of budgets they had exceeded. Raises StoreUnavailable."""
    denials = Denial.objects.filter(owner=owner)
    keys = {*denials.values_list("key", flat=True), default_budget(owner).key}
    user = user_of(owner)
    if user is not None:
        limits = RateLimit.objects.live().filter(Q(tier__users=user) | Q(user=user))
        keys |= {rule_key(owner, pk) for pk in limits.values_list("pk", flat=True)}
    limiter().reset(keys)
    reset = denials.delete()[0]
    if user is not None:
        author.record(user, CHANGE, note="Rate limit counters reset.")
    return reset


def user_of(owner: str) -> Any:
    kind, _, pk = owner.partition(":")
    return get_user_model()._default_manager.filter(pk=pk).first() if kind == "user" and pk.isdigit() else None
