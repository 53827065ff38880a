"""What staff, users and commands do to users. Each change is written to the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import default_token_generator
from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts.addresses import set_address
from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.pictures import remove_file
from accounts.rights import would_remove_last_superuser
from config.base.actions import ActionOutcome
from config.base.database import in_batches
from config.base.history import ADDITION, CHANGE, DELETION, Author, Change, changes_between, initial_values, snapshot
from config.base.models import label, lock_live
from config.base.stale import EditForm
from config.base.text import counted, exact
from config.base.undo import put_back
from tiers.models import Tier

BATCH = 500


def create(user: User, author: Author) -> User:
    """Save a new user without a password, and email them a link to set one.

    Raises IntegrityError if another user has just taken the username or email address.
    """
    user.set_unusable_password()
    with transaction.atomic():
        user.save(force_insert=True)
        set_address(user, verified=False)
        author.record(user, ADDITION, changes=initial_values(user))
    send_invitation(author.request, user)
    return user


def update(form: EditForm, author: Author) -> list[Change]:
    """Save what `form` changed. A new email address must be verified, and the old one is notified.

    Raises IntegrityError if someone else has just changed the user, or taken the username or email address.
    """
    user: User = form.instance
    former = former_values_of(form)
    with transaction.atomic():
        form.lock_row()
        form.save_changes()
        if "email" in former:
            set_address(user, verified=False)
        changes = changes_between(form.before, snapshot(user))
        if changes:
            author.record(user, CHANGE, changes=changes, former=former)
    if "email" in former:
        tell_moved(author.request, user, former["email"])
    return changes


def former_values_of(form: EditForm) -> dict[str, Any]:
    """The stored values of what the form is about to change."""
    lists = {name: pks for name, pks in form.relations_of(None).items() if name in form.changed_data}
    return {name: form.loaded[name] for name in form.written_fields()} | lists


def change_back(user: User, former: dict[str, Any], author: Author) -> None:
    """Give a user, locked in a transaction, the values from before an edit. An email address must be verified again.

    Raises ValidationError if the user can't have them any more.
    """
    check_former(user, former)
    address = user.email
    put_back(user, former, author)
    if "email" in former:
        user.end_sessions()  # earlier links to this address stay invalid
        set_address(user, verified=False)
        transaction.on_commit(lambda: tell_moved(author.request, user, address))


def check_former(user: User, former: Mapping[str, Any]) -> None:
    """Raise ValidationError, with the reason, if the user can't have these values any more."""
    others = User.objects.live().exclude(pk=user.pk)
    for name in {"username", "email"} & former.keys():
        if others.filter(**{name: former[name]}).exists():
            noun = label(User._meta.get_field(name))
            raise ValidationError(f"Another user has the {noun} {former[name]} now, so “{user}” wasn't changed back.")
    tier_id, until = former.get("tier"), former.get("tier_until")
    tier = Tier.objects.filter(pk=tier_id).first()
    if tier_id is not None and (tier is None or tier.deleted_at is not None):
        noun = f"The tier “{tier}”" if tier else "The previous tier"
        raise ValidationError(f"{noun} has been deleted, so “{user}” wasn't changed back.")
    if until and datetime.fromisoformat(until) <= timezone.now():
        raise ValidationError(f"The time on the previous tier has ended, so “{user}” wasn't changed back.")


def set_picture(user: User, picture: ContentFile[bytes] | None, author: Author) -> None:
    """Raises ConcurrentDeletion for a deleted user."""
    with transaction.atomic():
        lock_live(user)
        user.refresh_from_db(fields=["profile_image"])
        old = user.profile_image.name
        if picture is None:
            user.profile_image = ""
        else:
            user.profile_image.save(str(picture.name), picture, save=False)
        user.save(update_fields=["profile_image"])
        change = Change(field="picture", old="set" if old else "–", new="set" if picture else "–")
        author.record(user, CHANGE, changes=[change])
        remove_file(old)


def suspend(users: UserQuerySet, author: Author) -> ActionOutcome:
    """Sign the users out everywhere and deny their keys. Raises ValidationError if no superuser would be left."""
    return change_all(
        users.effective(),
        {"is_active": False},
        author,
        note="Suspended.",
        changes=[Change(field="active", old="yes", new="no")],
        prepare=validate_superuser_remains,
    )


def reactivate(users: UserQuerySet, author: Author) -> ActionOutcome:
    changes = [Change(field="active", old="no", new="yes")]
    return change_all(users.suspended(), {"is_active": True}, author, note="Reactivated.", changes=changes)


def sign_out(users: UserQuerySet, author: Author) -> ActionOutcome:
    next_epoch = models.F("session_epoch") + 1
    return change_all(users.live(), {"session_epoch": next_epoch}, author, note="Signed out everywhere.")


def set_tier(users: UserQuerySet, author: Author, tier: Tier | None, until: datetime | None = None) -> ActionOutcome:
    """Move users who aren't on `tier` (None: no tier) to it, until a time or without an end.

    Raises ConcurrentDeletion, a ValidationError, if the tier was deleted since it was chosen.
    """
    return change_all(
        on_another_tier(users, tier, until),
        {"tier": tier, "tier_until": until},
        author,
        changes=lambda user: changes_between(tier_words(user.tier, user.tier_until), tier_words(tier, until)),
        former=lambda user: {"tier": user.tier_id, "until": user.tier_until and user.tier_until.isoformat()},
        prepare=lambda _users: lock_live(tier) if tier else None,
    )


def set_former_tiers(users: UserQuerySet, author: Author, former: Mapping[str, Mapping[str, Any]]) -> ActionOutcome:
    """Move the users back to the tiers they were on. former: tier and end before `set_tier`, by the user's id."""
    outcome, places = ActionOutcome(), defaultdict(list)
    for pk in users.values_list("pk", flat=True):
        places[former[str(pk)]["tier"], former[str(pk)]["until"]].append(pk)
    for (tier_id, until), pks in places.items():
        tier = Tier.objects.filter(pk=tier_id).first()
        if tier_id is not None and (tier is None or tier.deleted_at is not None):
            noun = f"the tier “{tier}”" if tier else "their previous tier"
            outcome.refused.append(f"{counted(len(pks), 'user')} not moved back: {noun} has been deleted.")
            continue
        ends = datetime.fromisoformat(until) if until else None
        outcome.done += set_tier(users.filter(pk__in=pks), author, tier, ends).done
    return outcome


def on_another_tier(users: UserQuerySet, tier: Tier | None, until: datetime | None = None) -> UserQuerySet:
    return users.live().exclude(models.Q(tier=tier, tier_until=until))


def tier_words(tier: Tier | None, until: datetime | None) -> dict[str, str]:
    return {"tier": str(tier or "–"), "tier until": exact(until) if until else "–"}


def delete(users: UserQuerySet, author: Author, note: str = "Deleted.") -> ActionOutcome:
    """Soft-delete the users. Raises ValidationError if no superuser would be left."""
    return change_all(
        users.live(),
        users.deletion_values(),
        author,
        flag=DELETION,
        note=note,
        prepare=validate_superuser_remains,
    )


def close(user: User, author: Author) -> ActionOutcome:
    return delete(User.objects.filter(pk=user.pk), author, note="Closed by the user.")


def restore(users: UserQuerySet, author: Author) -> ActionOutcome:
    """Restore deleted users one by one: where a username has been taken, only that user stays deleted."""
    outcome = ActionOutcome()
    for user in users.deleted().select_related("tier").iterator():
        tier = user.tier
        try:
            with transaction.atomic():
                user.restore()
                moved = [Change(field="tier", old=str(tier or "–"), new=str(user.tier or "–"))]
                author.record(user, CHANGE, changes=moved if tier != user.tier else [], note="Restored.")
        except ValidationError as error:
            outcome.refused.extend(error.messages)
        else:
            outcome.done += 1
    return outcome


@transaction.atomic
def verify(users: UserQuerySet, author: Author) -> ActionOutcome:
    return for_each(users, author, lambda user: set_address(user, verified=True), "Email address marked as verified.")


def send_password_reset(users: UserQuerySet, author: Author) -> ActionOutcome:
    def send(user: User) -> None:
        request_password_reset(author.request, user.email, [user], None)

    return for_each(users, author, send, "Password reset email sent.")


def send_verification(users: UserQuerySet, author: Author) -> ActionOutcome:
    return for_each(users, author, lambda user: send_confirmation(author.request, user), "Verification email sent.")


def send_invitation(request: HttpRequest | None, user: User) -> None:
    key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
    adapter = get_adapter(request)
    context = {"user": user, "password_reset_url": adapter.get_reset_password_from_key_url(key), "request": request}
    adapter.send_mail("account/email/invitation", user.email, context)


def tell_moved(request: HttpRequest | None, user: User, old_email: str) -> None:
    """Notify the old address, and ask the new one for confirmation."""
    get_adapter(request).send_mail("account/email/address_moved", old_email, {"user": user, "request": request})
    send_confirmation(request, user)


def send_confirmation(request: HttpRequest | None, user: User) -> None:
    address = EmailAddress.objects.filter(user=user, email=user.email).first()
    (address or set_address(user, verified=False)).send_confirmation(request)


def for_each(users: UserQuerySet, author: Author, act: Callable[[User], Any], note: str) -> ActionOutcome:
    outcome = ActionOutcome()
    for user in users:
        act(user)
        author.record(user, CHANGE, note=note)
        outcome.done += 1
    return outcome


def change_all(
    users: UserQuerySet,
    values: dict[str, Any],
    author: Author,
    *,
    flag: int = CHANGE,
    note: str = "",
    changes: Sequence[Change] | Callable[[User], Sequence[Change]] = (),
    prepare: Callable[[UserQuerySet], None] | None = None,
    former: Callable[[User], dict[str, Any]] | None = None,
) -> ActionOutcome:
    """Set `values` on all `users` in batches, each in a transaction of its own: a run that stopped can be repeated.

    prepare: takes the locks that come before those of the users' rows.
    """
    outcome = ActionOutcome()
    for pks in in_batches(list(users.order_by("pk").values_list("pk", flat=True)), BATCH):
        batch = users.filter(pk__in=pks)
        with transaction.atomic():
            if prepare is not None:
                prepare(batch)
            # Read again under a lock, so that the history says what happened.
            rows = list(batch.select_related("tier").select_for_update(of=("self",)))
            User.objects.filter(pk__in=[user.pk for user in rows]).update(**values)
            author.record_many(rows, flag, note=note, changes=changes, former=former)
        outcome.done += len(rows)
    return outcome


def validate_superuser_remains(users: Iterable[User]) -> None:
    """Raise ValidationError if no superuser could sign in without `users`.

    Call it before locking any of their rows: it locks all superusers, always in the same order.
    """
    superusers = [user for user in users if user.is_superuser]
    if superusers and would_remove_last_superuser(superusers):
        raise ValidationError(
            "This is the last superuser who can sign in. Make someone else a superuser first.", code="last_superuser"
        )
