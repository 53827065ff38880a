"""Writes that concern a tier and what refers to it, in one transaction."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from config.base.history import CHANGE, DELETION, Change, record, record_many
from config.base.text import counted
from tiers.models import Tier


def delete_tier(
    tier: Tier,
    *,
    actor: Any,
    move_users_to: Tier | None = None,
    delete_limits: bool = False,
    request: HttpRequest | None = None,
    via: str = "",
) -> None:
    """Delete `tier`; first move its live users to another live tier, and delete its live limits, if told so.

    All of it or nothing. Raises TierInUse if users or limits are left on it, ValidationError if the other tier is none or
    if this is the default tier.
    """
    Tier.objects.filter(pk=tier.pk).refuse_default()
    with transaction.atomic():
        list(
            Tier.objects.select_for_update().filter(pk__in=[tier.pk, getattr(move_users_to, "pk", None)]).order_by("pk")
        )
        notes = ["Deleted."]
        if move_users_to is not None:
            moved = move_users(tier, move_users_to, actor=actor, request=request, via=via)
            notes.append(f"{counted(moved, 'account')} moved to “{move_users_to}”.")
        if delete_limits:
            limits: Any = tier.rate_limits  # a reverse relation: tiers stand below limits
            rows = list(limits.live())
            limits.all().delete()
            record_many(rows, DELETION, actor=actor, note="Deleted with its tier.", request=request, via=via)
        tier.delete()
        record(tier, DELETION, actor=actor, note=" ".join(notes), request=request, via=via)


def move_users(source: Tier, target: Tier, *, actor: Any, request: HttpRequest | None = None, via: str = "") -> int:
    """Put the live users of `source` on `target`; returns how many. Raises ValidationError for a target that is no use."""
    if target.pk == source.pk or not Tier.objects.live().filter(pk=target.pk).exists():
        raise ValidationError("Choose another tier, one that is not deleted.", code="bad_target")
    with transaction.atomic():
        users: Any = source.users.live()  # as above
        rows = list(users)
        users.update(tier=target)
        change = Change(field="tier", old=str(source), new=str(target))
        record_many(rows, CHANGE, actor=actor, changes=[change], request=request, via=via)
    return len(rows)
