"""Writes that concern a tier and what refers to it, in one transaction."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from config.base.history import CHANGE, DELETION, Author, Change
from config.base.text import counted
from tiers.models import Tier


def delete_tier(tier: Tier, author: Author, *, move_users_to: Tier | None = None, delete_limits: bool = False) -> None:
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
            moved = move_users(tier, move_users_to, author)
            notes.append(f"{counted(moved, 'account')} moved to “{move_users_to}”.")
        if delete_limits:
            limits: Any = tier.rate_limits  # a reverse relation: tiers stand below limits
            rows = list(limits.live())
            limits.all().delete()
            author.record_many(rows, DELETION, note="Deleted with its tier.")
        tier.delete()
        author.record(tier, DELETION, note=" ".join(notes))


def move_users(source: Tier, target: Tier, author: Author) -> int:
    """Put the live users of `source` on `target`; returns how many. Raises ValidationError for a target that is no use."""
    if target.pk == source.pk or not Tier.objects.live().filter(pk=target.pk).exists():
        raise ValidationError("Choose another tier, one that is not deleted.", code="bad_target")
    with transaction.atomic():
        users: Any = source.users.live()  # as above
        rows = list(users)
        users.update(tier=target)
        change = Change(field="tier", old=str(source), new=str(target))
        author.record_many(rows, CHANGE, changes=[change])
    return len(rows)
