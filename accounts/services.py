"""What is done to accounts, one or many, by staff, by their holders or by a command; each change leaves its history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import models, transaction

from accounts.addresses import set_address
from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.pictures import remove_file
from accounts.rights import would_remove_last_superuser
from config.base.actions import Outcome
from config.base.history import ADDITION, CHANGE, DELETION, Author, Change, changes_between, snapshot
from config.base.models import hold
from config.base.stale import EditForm
from tiers.models import Tier

BATCH = 500
NEXT_EPOCH = models.F("session_epoch") + 1


def suspend(users: UserQuerySet, author: Author) -> Outcome:
    """Sign the accounts out everywhere and refuse their keys. Raises ValidationError rather than leave no superuser."""
    return change_all(
        users.effective(),
        {"is_active": False, "session_epoch": NEXT_EPOCH},
        author,
        flag=CHANGE,
        note="Suspended.",
        changes=constant(Change(field="active", old="yes", new="no")),
        removes=True,
    )


def reactivate(users: UserQuerySet, author: Author) -> Outcome:
    return change_all(
        users.suspended(),
        {"is_active": True},
        author,
        flag=CHANGE,
        note="Reactivated.",
        changes=constant(Change(field="active", old="no", new="yes")),
    )


def sign_out(users: UserQuerySet, author: Author) -> Outcome:
    """End every session and reset link of the accounts, from their next request on."""
    return change_all(users.live(), {"session_epoch": NEXT_EPOCH}, author, flag=CHANGE, note="Signed out everywhere.")


def set_tier(users: UserQuerySet, author: Author, tier: Tier | None) -> Outcome:
    """Move the accounts to `tier` (None: to none); those on it already are not touched.

    Raises DeletedMeanwhile, a ValidationError, if the tier was deleted since it was chosen.
    """
    return change_all(
        on_another_tier(users, tier),
        {"tier": tier},
        author,
        flag=CHANGE,
        holds=tier,
        changes=lambda user: [Change(field="tier", old=str(user.tier or "–"), new=str(tier or "–"))],
    )


def on_another_tier(users: UserQuerySet, tier: Tier | None) -> UserQuerySet:
    """Those of the live `users` whom `set_tier` would move."""
    return users.live().exclude(tier=tier) if tier else users.live().filter(tier__isnull=False)


def delete(users: UserQuerySet, author: Author, note: str = "Deleted.") -> Outcome:
    """Soft-delete the accounts. Raises ValidationError rather than leave no superuser."""
    return change_all(users.live(), users.deletion_values(), author, flag=DELETION, note=note, removes=True)


def restore(users: UserQuerySet, author: Author) -> Outcome:
    """Bring deleted accounts back, each on its own: a name taken meanwhile keeps only its own account away."""
    outcome = Outcome()
    for user in users.deleted().select_related("tier").iterator():
        try:
            with transaction.atomic():
                before = snapshot(user)
                user.restore()
                moved = [change for change in changes_between(before, snapshot(user)) if change["field"] == "tier"]
                author.record(user, CHANGE, changes=moved, note="Restored.")
        except ValidationError as error:
            outcome.refused.extend(error.messages)
        else:
            outcome.done += 1
    return outcome


def change_all(
    users: UserQuerySet,
    values: dict[str, Any],
    author: Author,
    *,
    flag: int,
    note: str = "",
    changes: Callable[[User], list[Change]] | None = None,
    removes: bool = False,
    holds: Tier | None = None,
) -> Outcome:
    """Set `values` on all `users`, batch by batch, each with its history; stopped half-way it can simply be run again.

    The rows of a batch are locked and read again, so that what the history says is what happened.
    """
    outcome = Outcome()
    for pks in batches(users):
        with transaction.atomic():
            if holds is not None:
                hold(holds)
            if removes:
                refuse_last_superuser(users.filter(pk__in=pks, is_superuser=True))
            rows = list(users.filter(pk__in=pks).select_related("tier").select_for_update(of=("self",)))
            User.objects.filter(pk__in=[user.pk for user in rows]).update(**values)
            for told, group in alike(rows, changes or constant()):
                author.record_many(group, flag, note=note, changes=told)
        outcome.done += len(rows)
    return outcome


def constant(*changes: Change) -> Callable[[User], list[Change]]:
    """The same changes for every account."""
    return lambda _user: list(changes)


def batches(users: UserQuerySet) -> Iterator[list[int]]:
    """The keys of `users`, read once, in slices that any database takes as parameters."""
    pks = list(users.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(pks), BATCH):
        yield pks[start : start + BATCH]


def refuse_last_superuser(users: Iterable[User]) -> None:
    """Raise ValidationError if nobody who is a superuser could sign in without `users`.

    Call it before any of their rows is locked: it locks all superusers, in one order for everybody, or two who remove
    each other would wait for each other.
    """
    superusers = [user for user in users if user.is_superuser]
    if superusers and would_remove_last_superuser(superusers):
        raise ValidationError(
            "This is the last superuser who can sign in. Make somebody else a superuser first.", code="last_superuser"
        )


def alike(rows: Iterable[User], changes: Callable[[User], list[Change]]) -> Iterator[tuple[list[Change], list[User]]]:
    """The rows in groups of the same history: those who leave the same tier, for example."""
    groups: dict[str, list[User]] = {}
    for user in rows:
        groups.setdefault(repr(changes(user)), []).append(user)
    for group in groups.values():
        yield changes(group[0]), group


def create(user: User, author: Author) -> User:
    """Save a new account without a password, on its tier, with its address still to be verified.

    Raises IntegrityError if a live account took the name or the address meanwhile.
    """
    user.set_unusable_password()
    with transaction.atomic():
        user.save(force_insert=True)
        set_address(user, verified=False)
        author.record(user, ADDITION)
    return user


def update(user: User, form: EditForm, before: dict[str, str], author: Author) -> None:
    """Save what `form` changed of the account; `before` is its snapshot before that.

    Raises IntegrityError if the account changed, or a live one took the name or the address, meanwhile.
    """
    with transaction.atomic():
        form.lock_row()
        form.save_changes()
        author.record(user, CHANGE, changes=changes_between(before, snapshot(user)))


def set_picture(user: User, picture: ContentFile[bytes] | None, author: Author) -> None:
    """Store a redrawn picture as the account's, or with None take the account's away; the old file goes."""
    old, before = user.profile_image.name, bool(user.profile_image)
    with transaction.atomic():
        if picture is None:
            user.profile_image = ""
        else:
            user.profile_image.save(str(picture.name), picture, save=False)
        user.save(update_fields=["profile_image"])
        change = Change(field="picture", old="set" if before else "–", new="set" if picture else "–")
        author.record(user, CHANGE, changes=[change])
        remove_file(old)


def verify(users: UserQuerySet, author: Author) -> Outcome:
    """Take the accounts' present addresses for their holders' own."""
    outcome = Outcome()
    for user in users:
        with transaction.atomic():
            set_address(user, verified=True)
            note(user, "E-mail address marked as verified.", author)
        outcome.done += 1
    return outcome


def note(user: User, text: str, author: Author) -> None:
    """Tell the account's history of something that changed no field."""
    author.record(user, CHANGE, note=text)


def close(user: User, author: Author) -> Outcome:
    """What account holders do to their own account: delete it, as staff would, and end its keys' work."""
    return delete(User.objects.filter(pk=user.pk), author, note="Closed by its holder.")
