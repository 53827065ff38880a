"""Create, edit, rotate, disable, enable, expire and revoke keys; each change is in the history.

A change is one conditional update that names what must still be true: no race brings a revoked key back. Each function
raises ValidationError if the key doesn't allow the change. Those that hold a secret are marked `sensitive_variables()`,
so that no error report shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from apikeys.models import APIKey, APIKeyQuerySet, KeyPermission, KeyState
from apikeys.secrets import display_prefix, hash_secret, last4, new_secret, newest_pepper_id
from config.base import history as base_history
from config.base.access import EVERYTHING, MAX_PERMISSIONS, Permission, in_words
from config.base.history import Author, Change
from config.base.text import counted

LONGEST_GRACE = timedelta(days=30)
FARTHEST_EXPIRY = timedelta(days=100 * 365)
# Written when the key is used, so not part of what someone changed.
NOT_A_CHANGE = frozenset({"last used", "last used by", "previous last used at", "secret last used at"})


@sensitive_variables()
def issue_key(
    owner: Any,
    author: Author,
    *,
    permissions: Iterable[tuple[str, ...]] = (EVERYTHING,),
    key_id: UUID | None = None,
    **fields: Any,
) -> tuple[APIKey, str]:
    """Create a key for `owner` and return it with its secret, which isn't stored.

    key_id: the id to use, so that a form sent twice creates one key. fields: name, expires_at, allowed_ips, rate_limit,
    rate_window, rate_period, metadata. Raises ValidationError, and IntegrityError if `key_id` is taken.
    """
    if owner.deleted_at is not None:
        raise ValidationError("This user is deleted. Restore them first.", code="owner_deleted")
    check_expiry(fields.get("expires_at"))
    secret = new_secret()
    key = APIKey(user=owner, **fields, **stored_form(secret))
    key.id = key_id or key.id
    key.full_clean(validate_unique=False)
    rows = permission_rows(key, permissions)
    with transaction.atomic():
        check_key_policy(key)
        key.save(force_insert=True)
        KeyPermission.objects.bulk_create(rows)
        author.record(key, base_history.ADDITION, note=f"Created for “{owner}”. Permissions: {spelled_out(rows)}.")
    return key, secret


def restore_keys(keys: Iterable[APIKey]) -> None:
    """Restore deleted keys, all or none. One that could work again is held to the owner's tier, like a new one.

    Raises ValidationError, naming the key.
    """
    with transaction.atomic():
        for key in keys:
            if APIKey.objects.without(KeyState.REVOKED, KeyState.EXPIRED).filter(pk=key.pk).exists():
                try:
                    check_key_policy(key)
                except ValidationError as error:
                    raise ValidationError(f"“{key}” can't be restored. {' '.join(error.messages)}") from None
            key.restore()


def check_key_policy(key: APIKey) -> None:
    """Raise ValidationError unless the owner's tier allows this new key. Locks the owner, so that keys are counted in turn."""
    owners = User.objects.select_for_update(no_key=True, of=("self",)).select_related("tier")
    tier = owners.get(pk=key.user_id).effective_tier
    if tier is None:
        return
    if tier.max_key_days is not None:
        latest = timezone.now() + timedelta(days=tier.max_key_days)
        if key.expires_at is None or key.expires_at > latest:
            message = f"Keys on the tier “{tier}” must expire within {counted(tier.max_key_days, 'day')}."
            raise ValidationError({"expires_at": message}, code="expires_too_late")
    # Not itself: if its id is taken, that is another error.
    keys = APIKey.objects.in_use().filter(user=key.user_id).exclude(pk=key.pk)
    if tier.max_keys is not None and keys.count() >= tier.max_keys:
        raise ValidationError(
            f"The tier “{tier}” allows {counted(tier.max_keys, 'key')} per user. Revoke one that isn't needed first.",
            code="too_many_keys",
        )


@sensitive_variables()
def stored_form(secret: str) -> dict[str, str]:
    """What's stored of a secret."""
    return {
        "prefix": display_prefix(secret),
        "last4": last4(secret),
        "secret_hash": hash_secret(secret),
        "pepper_id": newest_pepper_id(),
    }


@sensitive_variables()
def rotate_key(key: APIKey, author: Author, *, grace: timedelta = timedelta(0)) -> str:
    """Give the key a new secret and return it.

    The current one works for `grace` longer, at most until the key expires; an earlier one stops at once. Raises
    ValidationError if the key was rotated since `key` was loaded.
    """
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise ValidationError("The old secret can keep working for at most 30 days.", code="grace_too_long")
    now = timezone.now()
    replaced: dict[str, Any] = {"previous_hash": None, "previous_expires_at": None, "previous_last_used_at": None}
    replaced["secret_last_used_at"] = None
    if grace:
        ends = min(now + grace, key.expires_at) if key.expires_at else now + grace
        replaced |= {"previous_hash": models.F("secret_hash"), "previous_expires_at": ends}
        replaced["previous_last_used_at"] = models.F("secret_last_used_at")
    secret = new_secret()
    unchanged = models.Q(prefix=key.prefix, last4=key.last4, expires_at=key.expires_at)
    note = f"Rotated. The old secret works until {utc(replaced['previous_expires_at'])}." if grace else "Rotated."
    change(key, author, APIKey.objects.in_use().filter(unchanged), {**replaced, **stored_form(secret)}, note=note)
    return secret


def set_enabled(key: APIKey, author: Author, *, enabled: bool) -> None:
    """Disable the key, or enable it again; nothing changes if it already is."""
    if key.is_active != enabled or "edit" not in key.actions:
        change(
            key, author, APIKey.objects.in_use(), {"is_active": enabled}, note="Enabled." if enabled else "Disabled."
        )


def revoke_key(key: APIKey, author: Author, *, reason: str) -> None:
    """Revoke the key permanently. A deleted key can be revoked, too, and stays revoked if it's restored."""
    reason = clean_reason(reason)
    values = {"revoked_at": timezone.now(), "revoked_reason": reason}
    change(key, author, APIKey.objects.unrevoked(), values, note=f"Revoked: {reason}")


def clean_reason(reason: str) -> str:
    field = APIKey._meta.get_field("revoked_reason")
    if not reason.strip():
        raise ValidationError({"reason": "Enter a reason."})
    try:
        return str(field.clean(reason.strip(), None))
    except ValidationError as error:
        raise ValidationError({"reason": error}) from None


def shorten_expiry(key: APIKey, author: Author, *, expires_at: datetime) -> None:
    check_expiry(expires_at)
    later = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=expires_at)
    shorter = models.Case(
        models.When(previous_expires_at__gt=expires_at, then=models.Value(expires_at)), default="previous_expires_at"
    )
    values = {"expires_at": expires_at, "previous_expires_at": shorter}
    note = f"Expiry brought forward to {utc(expires_at)}."
    change(key, author, APIKey.objects.in_use().filter(later), values, note=note)


def edit_key(
    key: APIKey, author: Author, *, permissions: Iterable[tuple[str, ...]] | None = None, **fields: Any
) -> None:
    """fields: name, allowed_ips, rate_limit, rate_window, rate_period, metadata. `permissions` replace those it has."""
    for name, value in fields.items():
        setattr(key, name, value)
    key.full_clean(validate_unique=False)
    values = {name: getattr(key, name) for name in fields}
    with transaction.atomic():
        lock(key)
        former = {"permissions": [row.permission for row in key.permissions.all()]}
        changes = replace_permissions(key, permission_rows(key, permissions)) if permissions is not None else []
        change(key, author, APIKey.objects.in_use(), values, changes=changes, former=former if changes else {})


def lock(key: APIKey) -> None:
    """Lock the key, and thereby its permissions, until the transaction ends."""
    list(APIKey.objects.select_for_update(no_key=True).filter(pk=key.pk).values_list("pk"))


def replace_permissions(key: APIKey, rows: list[KeyPermission]) -> list[Change]:
    """Give the key exactly the permissions in `rows`; returns the changes for the history."""
    wanted = {row.permission: row for row in rows}
    held = {row.permission: row for row in key.permissions.all()}
    if wanted.keys() == held.keys():
        return []
    KeyPermission.objects.filter(pk__in=[held[permission].pk for permission in held.keys() - wanted.keys()]).delete()
    KeyPermission.objects.bulk_create([row for permission, row in wanted.items() if permission not in held])
    return [Change(field="permissions", old=spelled_out(held.values()), new=spelled_out(rows))]


def permission_rows(key: APIKey, permissions: Iterable[tuple[str, ...]]) -> list[KeyPermission]:
    """Unsaved permissions of the key, without duplicates. Raises ValidationError if one is invalid."""
    distinct = dict.fromkeys(Permission(*permission) for permission in permissions)
    rows = [KeyPermission(api_key=key, **permission._asdict()) for permission in distinct]
    if len(rows) > MAX_PERMISSIONS:
        raise ValidationError(f"A key can have at most {MAX_PERMISSIONS} permissions.", code="too_many_permissions")
    for row in rows:
        row.full_clean(exclude=["api_key"], validate_unique=False, validate_constraints=False)
    return rows


def spelled_out(rows: Iterable[KeyPermission]) -> str:
    return in_words(row.permission for row in rows)


def check_expiry(expires_at: datetime | None) -> None:
    now = timezone.now()
    if expires_at is not None and not now < expires_at <= now + FARTHEST_EXPIRY:
        raise ValidationError({"expires_at": "Choose an expiry in the future, within 100 years."})


def change(
    key: APIKey,
    author: Author,
    changeable: APIKeyQuerySet,
    values: Mapping[str, Any],
    *,
    note: str = "",
    changes: Iterable[Change] = (),
    former: dict[str, Any] | None = None,
) -> None:
    """Update the key if it's (still) among the `changeable`, write the history, and reload `key`.

    former: what undo needs besides the former `values`; None for what can't be undone so. Raises ValidationError, and
    writes nothing, if the key isn't changeable.
    """
    with transaction.atomic():
        # No other change comes between the two snapshots. NO KEY: decisions can still insert usage of this key.
        locked = APIKey.objects.select_for_update(no_key=True, of=("self",)).get(pk=key.pk)
        before, stored = base_history.snapshot(locked), base_history.stored_values(locked)
        written = changeable.filter(pk=key.pk).update(**values)
        key.refresh_from_db()
        if not written:
            raise ValidationError(refusal(key), code="key_not_changed")
        fields = base_history.changes_between(before, base_history.snapshot(key))
        changed = [*(item for item in fields if item["field"] not in NOT_A_CHANGE), *changes]
        if former is not None:
            edited = base_history.former_values(stored, key)
            former = former | {name: value for name, value in edited.items() if name in values}
        if changed or note:
            author.record(key, base_history.CHANGE, changes=changed, note=note, former=former)


REFUSALS = {
    KeyState.REVOKED: "This key is revoked permanently. Create a new one.",
    KeyState.DELETED: "This key is deleted. Restore it first.",
    KeyState.EXPIRED: "This key has expired. Create a new one.",
}


def refusal(key: APIKey) -> str:
    changed = "You can't do this in the key's current state. Someone may have changed it. Check the key and try again."
    return REFUSALS.get(key.state, changed)


def why_not(key: APIKey, action: str) -> str:
    """Why you can't do this with the key, as a sentence; empty if you can."""
    # Enabling an enabled key isn't an error, nor is disabling a disabled one: a form may be sent twice.
    repeatable = {"enable", "disable"} if "edit" in key.actions else set()
    return "" if action in key.actions | repeatable else refusal(key)


def utc(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"
