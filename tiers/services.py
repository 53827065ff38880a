"""Change a tier together with its users and rate limits, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from config.base.access import Permission, in_words
from config.base.history import CHANGE, DELETION, Author, Change
from config.base.text import counted
from config.base.undo import Operation
from tiers.models import Tier, TierAccess


def delete_tier(tier: Tier, author: Author, *, move_users_to: Tier | None = None, delete_limits: bool = False) -> None:
    """Delete the tier. On request, first move its live users to another one and delete its live rate limits.

    Raises TierInUse if users or rate limits are left, ValidationError if this is the default tier or the other one isn't
    live.
    """
    Tier.objects.filter(pk=tier.pk).refuse_default()
    with transaction.atomic():
        list(
            Tier.objects.select_for_update().filter(pk__in=[tier.pk, getattr(move_users_to, "pk", None)]).order_by("pk")
        )
        notes = ["Deleted."]
        if move_users_to is not None:
            moved = move_users(tier, move_users_to, author)
            notes.append(f"{counted(moved, 'user')} moved to “{move_users_to}”.")
        if delete_limits:
            limits: Any = tier.rate_limits  # a reverse relation: tiers don't know rate limits
            rows = list(limits.live())
            limits.all().delete()
            author.record_many(rows, DELETION, note="Deleted with its tier.")
        tier.delete()
        author.record(tier, DELETION, note=" ".join(notes))


def restore_limits(tier: Tier, author: Author, operation: Operation) -> None:
    """Restore the rate limits that were deleted with the tier. Raises ValidationError, naming the live row in conflict."""
    limits: Any = tier.rate_limits
    rows = list(limits.deleted().filter(pk__in=operation.untouched(limits.model)))
    for limit in rows:
        limit.restore()
    author.record_many(rows, CHANGE, note="Restored with its tier.")


def move_back(tier: Tier, author: Author, operation: Operation) -> None:
    """Move users back who left the tier when it was deleted, unless someone has changed them since."""
    people: Any = tier.users
    moved = people.model._default_manager.live().filter(pk__in=operation.untouched(people.model)).select_related("tier")
    users = list(moved)
    moved.update(tier=tier)
    author.record_many(users, CHANGE, changes=lambda user: [Change(field="tier", old=str(user.tier), new=str(tier))])


def replace_access(tier: Tier, permissions: Sequence[Permission]) -> list[Change]:
    """Give the tier exactly this access; returns the changes for the history."""
    held = {rule.permission: rule for rule in tier.access.all()}
    if set(held) == set(permissions):
        return []
    TierAccess.objects.filter(pk__in=[held[permission].pk for permission in held.keys() - set(permissions)]).delete()
    TierAccess.objects.bulk_create(
        TierAccess(tier=tier, **permission._asdict()) for permission in permissions if permission not in held
    )
    return [Change(field="access", old=in_words(held), new=in_words(permissions))]


def move_users(source: Tier, target: Tier, author: Author) -> int:
    """Returns how many live users were moved. Raises ValidationError unless `target` is another live tier."""
    if target.pk == source.pk or not Tier.objects.live().filter(pk=target.pk).exists():
        raise ValidationError("Choose another tier that isn't deleted.", code="bad_target")
    with transaction.atomic():
        users: Any = source.users.live()
        rows = list(users)
        users.update(tier=target)
        change = Change(field="tier", old=str(source), new=str(target))
        author.record_many(rows, CHANGE, changes=[change])
    return len(rows)
