"""Changes to more users than a page can wait for: manage.py change_users makes them in steps.

Each step is a transaction that changes some users, writes their history, and records the progress. If a process is stopped,
the next one continues. A finished change is undone by another one, in the same steps.
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
from accounts.staff.actions import UNDO_ACTIONS, MoveToTier, UserAction
from config.base.actions import MAX_REASONS, ActionOutcome, Undoing
from config.base.database import in_batches, unavailable_error
from config.base.history import Author
from config.base.http import client_address
from config.base.undo import Operation, Token, new_operation
from tiers.models import Tier

logger = logging.getLogger(__name__)

# A page changes up to this many users itself.
MAX_AT_ONCE = 10_000
STEP = 1_000
MAX_TITLE = 200


def begin(action: UserAction, users: UserQuerySet, author: Author, title: str) -> BulkChange:
    """Save the change and the ids of its users for the job."""
    pks = list(users.order_by("pk").values_list("pk", flat=True))
    return save_change(
        author,
        [BulkStep(users=list(batch)) for batch in in_batches(pks, STEP)],
        action=action.name,
        tier_id=action.tier.pk if isinstance(action, MoveToTier) and action.tier else None,
        title=title,
        total=len(pks),
        operation=new_operation() if action.undo else "",
    )


@transaction.atomic
def begin_undo(pk: int, author: Author) -> BulkChange | None:
    """Save a change that undoes this one. None if it can't be undone, or someone already has."""
    change = BulkChange.objects.select_for_update().get(pk=pk)
    if not can_undo(change):
        return None
    steps = [BulkStep(users=[], undoes=step) for step in change.steps.order_by("pk")]
    title = f"Undo: {change.title}"[:MAX_TITLE]
    return save_change(author, steps, action=kind_of(change).undo, title=title, total=change.done, undoes=change)


def can_undo(change: BulkChange) -> bool:
    return change.is_finished and change.steps.exists() and not BulkChange.objects.filter(undoes=change).exists()


def save_change(author: Author, steps: list[BulkStep], **fields: Any) -> BulkChange:
    address = client_address(author.request) if author.request else ""
    with transaction.atomic():
        change = BulkChange.objects.create(author=author.user, address=address or None, **fields)
        for step in steps:
            step.change = change
        BulkStep.objects.bulk_create(steps)
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
    step = change.steps.waiting().select_related("undoes").order_by("pk").first()
    if step is None:
        change.finish()
        return False
    try:
        with transaction.atomic():
            handled, outcome = perform(change, step)
    except ValidationError as error:
        change.finish(" ".join(error.messages))
        return False
    except Exception as error:
        if unavailable_error(error) is not None:
            raise
        logger.exception("A bulk change failed")
        change.finish(f"{type(error).__name__}: {error}")
        return False
    note(change, outcome, handled)
    return True


def perform(change: BulkChange, step: BulkStep) -> tuple[int, ActionOutcome]:
    """Do what the page would do now. Raises ValidationError if the author no longer has permission."""
    user: Any = change.author
    action = action_of(change)
    if not (user.is_effective and user.is_staff and action.may(user, User)):
        raise ValidationError(f"“{user}” no longer has permission to do this.")
    via = "bulk change" if change.undoes_id is None else "undo"
    author = Author(user, via=via, operation=change.operation, address=change.address or "")
    if step.undoes is not None:
        undoing = Undoing(action, operation_of(step.undoes), User.objects.select_related("tier"), author)
        handled, outcome = len(undoing.entries), undoing.run()
    else:
        users = User.objects.filter(pk__in=step.users)
        handled, outcome = len(step.users), action.perform(action.allowed(user, action.fits(users)), author, {})
    close(step, author)
    return handled, outcome


def operation_of(step: BulkStep) -> Operation:
    change: Any = step.change
    return Operation(Token(change.author_id, kind_of(change).undo, change.operation, step.first or 0, step.last or 0))


def close(step: BulkStep, author: Author) -> None:
    """Keep what undo needs, if there is something to undo."""
    if author.operation and author.written:
        step.users, step.first, step.last = [], author.written[0], author.written[-1]
        step.save()
    else:
        step.delete()


def kind_of(change: BulkChange) -> UserAction:
    """The action, regardless of the tier."""
    return next((action for action in UNDO_ACTIONS if action.name == change.action), MoveToTier())


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
    """Stop before the other users are changed. False if the change has already finished."""
    change = BulkChange.objects.select_for_update().get(pk=pk)
    if change.is_finished:
        return False
    change.finish(f"Stopped by “{name}”.")
    return True
