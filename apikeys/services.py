"""The life of a key: issued, edited, rotated, disabled, enabled, shortened, revoked; each step checked and in the history.

Every change is one conditional update that also names what must still be true, so that no race can bring a revoked key
back. Each function raises ValidationError, with a sentence for people, if the key cannot be changed so. Functions that
hold a secret are marked `sensitive_variables()`: no error report shows what they, or what they call, hold.
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

from apikeys.models import EVERYTHING, APIKey, KeyPermission
from apikeys.secrets import display_prefix, hash_secret, last4, new_secret, newest_pepper_id
from config.base import history as base_history
from config.base.history import Author, Change

LONGEST_GRACE = timedelta(days=30)
FARTHEST_EXPIRY = timedelta(days=100 * 365)
MOST_PERMISSIONS = 200
UNREVOKED = models.Q(revoked_at__isnull=True)
# Written by the decision while people work on the key: no part of what a person changed.
NOT_A_CHANGE = frozenset({"last used", "last used by", "previous last used at", "secret last used at"})

Permission = tuple[str, str]


@sensitive_variables()
def issue_key(
    owner: Any,
    author: Author,
    *,
    permissions: Iterable[Permission] = EVERYTHING[:1],
    key_id: UUID | None = None,
    **fields: Any,
) -> tuple[APIKey, str]:
    """Make a key for `owner` and return it with its secret, which exists nowhere else.

    permissions: (action, resource) pairs; none of them, no access. key_id: the id to use, so that one form makes one key
    however often it is sent. fields: name, expires_at, allowed_ips, rate_limit, rate_period, metadata.
    Raises ValidationError, and IntegrityError if `key_id` is taken.
    """
    if owner.deleted_at is not None:
        raise ValidationError("This account is deleted. Restore it first.", code="owner_deleted")
    refuse_unfit_expiry(fields.get("expires_at"))
    secret = new_secret()
    key = APIKey(user=owner, **fields, **stored_form(secret))
    key.id = key_id or key.id
    key.full_clean(validate_unique=False)
    rows = permission_rows(key, permissions)
    with transaction.atomic():
        key.save(force_insert=True)
        KeyPermission.objects.bulk_create(rows)
        author.record(key, base_history.ADDITION, note=f"Issued to {owner}. Allowed: {spelled_out(rows)}.")
    return key, secret


@sensitive_variables()
def stored_form(secret: str) -> dict[str, str]:
    """What the row of a key holds of its secret."""
    return {
        "prefix": display_prefix(secret),
        "last4": last4(secret),
        "secret_hash": hash_secret(secret),
        "pepper_id": newest_pepper_id(),
    }


@sensitive_variables()
def rotate_key(key: APIKey, author: Author, *, grace: timedelta = timedelta(0)) -> str:
    """Give the key a new secret and return it. The one that `key` was loaded with works on for `grace`, at most until
    the key expires; one replaced earlier dies at once. Refused if the key was rotated since it was loaded.
    """
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise ValidationError("The old secret can work on for 30 days at most.", code="grace_too_long")
    now = timezone.now()
    replaced: dict[str, Any] = {"previous_hash": None, "previous_expires_at": None, "previous_last_used_at": None}
    replaced["secret_last_used_at"] = None
    if grace:
        ends = min(now + grace, key.expires_at) if key.expires_at else now + grace
        replaced |= {"previous_hash": models.F("secret_hash"), "previous_expires_at": ends}
        replaced["previous_last_used_at"] = models.F("secret_last_used_at")
    secret = new_secret()
    unchanged = models.Q(prefix=key.prefix, last4=key.last4, expires_at=key.expires_at)
    note = f"Rotated. The old secret works until {moment(replaced['previous_expires_at'])}." if grace else "Rotated."
    change(key, author, in_use() & unchanged, {**replaced, **stored_form(secret)}, note=note)
    return secret


def set_enabled(key: APIKey, author: Author, *, enabled: bool) -> None:
    """Disable the key, or enable it again. A key that is in that state already stays as it is."""
    if key.is_active != enabled or key.steps <= {"revoke"}:
        change(key, author, in_use(), {"is_active": enabled}, note="Enabled." if enabled else "Disabled.")


def revoke_key(key: APIKey, author: Author, *, reason: str) -> None:
    """Refuse the key for good; the row stays. Works on a deleted key too: restored, it stays revoked."""
    reason = clean_reason(reason)
    values = {"revoked_at": timezone.now(), "revoked_reason": reason}
    change(key, author, UNREVOKED, values, note=f"Revoked: {reason}")


def clean_reason(reason: str) -> str:
    field = APIKey._meta.get_field("revoked_reason")
    if not reason.strip():
        raise ValidationError({"reason": "Say why the key is revoked: it stays in its history."})
    try:
        return str(field.clean(reason.strip(), None))
    except ValidationError as error:
        raise ValidationError({"reason": error}) from None


def shorten_expiry(key: APIKey, author: Author, *, expires_at: datetime) -> None:
    """Bring the key's expiry forward. A later one than it has is refused: that would be a new key."""
    refuse_unfit_expiry(expires_at)
    later = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=expires_at)
    shorter = models.Case(
        models.When(previous_expires_at__gt=expires_at, then=models.Value(expires_at)), default="previous_expires_at"
    )
    note = f"Expiry brought forward to {moment(expires_at)}."
    change(key, author, in_use() & later, {"expires_at": expires_at, "previous_expires_at": shorter}, note=note)


def edit_key(key: APIKey, author: Author, *, permissions: Iterable[Permission] | None = None, **fields: Any) -> None:
    """Change the key's name, own limit, addresses or metadata; `permissions`, if given, replace those it has."""
    for name, value in fields.items():
        setattr(key, name, value)
    key.full_clean(validate_unique=False)
    values = {name: getattr(key, name) for name in fields}
    with transaction.atomic():
        lock(key)
        changes = replace_permissions(key, permission_rows(key, permissions)) if permissions is not None else []
        change(key, author, in_use(), values, changes=changes)


def lock(key: APIKey) -> None:
    """Keep others from the key until the transaction ends, and with it from its permissions."""
    list(APIKey.objects.select_for_update(no_key=True).filter(pk=key.pk).values_list("pk"))


def replace_permissions(key: APIKey, rows: list[KeyPermission]) -> list[Change]:
    """Leave the key just the permissions in `rows`; returns what that changed, for the history."""
    wanted = {(row.action, row.resource): row for row in rows}
    held = {(row.action, row.resource): row for row in key.permissions.all()}
    if wanted.keys() == held.keys():
        return []
    KeyPermission.objects.filter(pk__in=[held[pair].pk for pair in held.keys() - wanted.keys()]).delete()
    KeyPermission.objects.bulk_create([row for pair, row in wanted.items() if pair not in held])
    return [Change(field="permissions", old=spelled_out(held.values()), new=spelled_out(rows))]


def permission_rows(key: APIKey, permissions: Iterable[Permission]) -> list[KeyPermission]:
    """Unsaved permissions of the key, each once. Raises ValidationError if one is not known or not well formed."""
    rows = [
        KeyPermission(api_key=key, action=action, resource=resource) for action, resource in dict.fromkeys(permissions)
    ]
    if len(rows) > MOST_PERMISSIONS:
        raise ValidationError(f"A key holds at most {MOST_PERMISSIONS} permissions.", code="too_many_permissions")
    for row in rows:
        row.full_clean(exclude=["api_key"], validate_unique=False, validate_constraints=False)
    return rows


def spelled_out(permissions: Iterable[KeyPermission]) -> str:
    """What a key may do, for the history."""
    return in_words([(permission.action, permission.resource) for permission in permissions])


def in_words(pairs: Iterable[Permission]) -> str:
    """“read /orders/*, read /reports/*”, “everything”, “nothing”."""
    pairs = list(pairs)
    if set(pairs) & set(EVERYTHING):
        return "everything"
    return ", ".join(sorted(f"{action} {resource}" for action, resource in pairs)) or "nothing"


def in_use() -> models.Q:
    """The condition of all that `APIKey.steps` offers but revoking: the key is live, and neither revoked nor expired."""
    unexpired = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=timezone.now())
    return UNREVOKED & models.Q(deleted_at__isnull=True) & unexpired


def refuse_unfit_expiry(expires_at: datetime | None) -> None:
    """Raise ValidationError for an expiry that lies in the past or beyond a lifetime."""
    now = timezone.now()
    if expires_at is not None and not now < expires_at <= now + FARTHEST_EXPIRY:
        raise ValidationError({"expires_at": "The expiry must lie in the future, and within 100 years."})


def change(
    key: APIKey,
    author: Author,
    condition: models.Q,
    values: Mapping[str, Any],
    *,
    note: str = "",
    changes: Iterable[Change] = (),
) -> None:
    """Write `values` to the key's row if `condition` still holds for it, and the history; `key` then shows the row.

    Raises ValidationError, and writes nothing, if the condition no longer holds.
    """
    with transaction.atomic():
        # The lock keeps another change out between the two snapshots; it does not stop the decision's usage rows.
        before = base_history.snapshot(APIKey.objects.select_for_update(no_key=True, of=("self",)).get(pk=key.pk))
        written = APIKey.objects.filter(condition, pk=key.pk).update(**values)
        key.refresh_from_db()
        if not written:
            raise ValidationError(refusal(key), code="key_not_changed")
        fields = base_history.changes_between(before, base_history.snapshot(key))
        changed = [*(item for item in fields if item["field"] not in NOT_A_CHANGE), *changes]
        if changed or note:
            author.record(key, base_history.CHANGE, changes=changed, note=note)


def refusal(key: APIKey) -> str:
    """Why the key could not be changed, from what its row says now."""
    if key.deleted_at is not None:
        return "This key is deleted. Restore it first."
    if key.revoked_at is not None:
        return "This key is revoked, for good. Make a new one."
    if key.is_expired:
        return "This key has expired. Make a new one."
    return "This key doesn't allow that as it is now; somebody may have changed it. Look at it again."


def why_not(key: APIKey, step: str) -> str:
    """Why this step, by its name, can't be taken with the key, as a sentence; empty if it can."""
    # To enable an enabled key, or disable a disabled one, is no error: a form may be sent twice.
    harmless = {"enable", "disable"} if "edit" in key.steps else set()
    return "" if step in key.steps | harmless else refusal(key)


def moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"
