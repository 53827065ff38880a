"""Changes to more users than a page can wait for: manage.py change_users makes them in steps.

Each step is a transaction that changes some users, writes their history, and records the progress. If a process is stopped,
the next one continues.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts.managers import UserQuerySet
from accounts.models import BulkChange, BulkStep, User
from accounts.staff.actions import BULK_ACTIONS, MoveToTier, UserAction
from config.base.actions import MAX_REASONS, ActionOutcome
from config.base.database import in_batches, unavailable_error
from config.base.history import Author
from config.base.http import client_address
from tiers.models import Tier

logger = logging.getLogger(__name__)

# A page changes up to this many users itself.
MAX_AT_ONCE = 10_000
STEP = 1_000


def begin(action: UserAction, users: UserQuerySet, author: Author, title: str) -> BulkChange:
    """Save the change and the ids of its users for the job."""
    pks = list(users.order_by("pk").values_list("pk", flat=True))
    address = client_address(author.request) if author.request else ""
    with transaction.atomic():
        change = BulkChange.objects.create(
            author=author.user,
            address=address or None,
            action=action.name,
            tier_id=action.tier.pk if isinstance(action, MoveToTier) and action.tier else None,
            title=title,
            total=len(pks),
        )
        BulkStep.objects.bulk_create([BulkStep(change=change, users=list(batch)) for batch in in_batches(pks, STEP)])
    return change


def work(seconds: float, progress: Callable[[str], object]) -> None:
    """Make pending changes, oldest first, until none are left or `seconds` have passed."""
    deadline = time.monotonic() + seconds
    for pk in BulkChange.objects.unfinished().order_by("pk").values_list("pk", flat=True):
        while take_step(pk):
            if time.monotonic() > deadline:
                return
        progress(str(BulkChange.objects.get(pk=pk)))


@transaction.atomic
def take_step(pk: int) -> bool:
    """Whether the change needs another step."""
    change = BulkChange.objects.select_for_update().get(pk=pk)
    if change.is_finished:
        return False
    step = change.steps.order_by("pk").first()
    if step is None:
        change.finish()
        return False
    try:
        with transaction.atomic():
            outcome = perform(change, User.objects.filter(pk__in=step.users))
    except ValidationError as error:
        change.finish(" ".join(error.messages))
        return False
    except Exception as error:
        if unavailable_error(error) is not None:
            raise
        logger.exception("A bulk change failed")
        change.finish(f"{type(error).__name__}: {error}")
        return False
    step.delete()
    note(change, outcome, len(step.users))
    return True


def perform(change: BulkChange, users: UserQuerySet) -> ActionOutcome:
    """Do what the page would do now. Raises ValidationError if the author no longer may."""
    author: Any = change.author
    action = action_of(change)
    if not (author.is_effective and author.is_staff and action.may(author, User)):
        raise ValidationError(f"{author} no longer has permission to do this.")
    users = action.allowed(author, action.fits(users))
    return action.perform(users, Author(author, via="bulk change", address=change.address or ""), {})


def kind_of(change: BulkChange) -> UserAction:
    """The action, for whatever tier."""
    return BULK_ACTIONS.get(change.action) or MoveToTier()


def action_of(change: BulkChange) -> UserAction:
    if change.tier_id is None:
        return kind_of(change)
    tier = Tier.objects.filter(pk=change.tier_id).first()
    if tier is None:
        raise ValidationError("The tier no longer exists.")
    return MoveToTier(tier)


def note(change: BulkChange, outcome: ActionOutcome, handled: int) -> None:
    change.started_at = change.started_at or timezone.now()
    change.handled += handled
    change.done += outcome.done
    change.refused += len(outcome.refused)
    change.reasons = [*change.reasons, *outcome.refused][:MAX_REASONS]
    change.save(update_fields=["started_at", "handled", "done", "refused", "reasons"])


@transaction.atomic
def stop(pk: int, name: str) -> bool:
    """Leave the rest of the users as they are. False if there's nothing left to stop."""
    change = BulkChange.objects.select_for_update().get(pk=pk)
    if change.is_finished:
        return False
    change.finish(f"Stopped by {name}.")
    return True
