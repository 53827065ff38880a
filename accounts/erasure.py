"""Erase overwrites a user's personal data and keeps the row and the history; purge removes rows. See docs/accounts.md."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.utils import timezone

from accounts import pictures
from accounts.managers import UserQuerySet
from accounts.models import BulkChange, ListSetting, SavedView, User
from accounts.services import validate_superuser_remains
from config.base.history import DELETION, Author
from config.base.models import lock_deleted

ERASED = "(erased)"
# What the history says where there was no value, or none is left.
PLACEHOLDERS = frozenset({"", "–", ERASED})


def verbose_names(*fields: str) -> frozenset[str]:
    return frozenset(str(User._meta.get_field(name).verbose_name) for name in fields)  # type: ignore[union-attr]


# The verbose names, which the history uses.
NAME_FIELDS = verbose_names("name", "username", "email")
PERSONAL_FIELDS = NAME_FIELDS | verbose_names("profile_image", "google_id", "github_id")
# How a sentence names a user; the second one is in old entries about keys.
MENTIONS = ("“{}”", "Created for {}.")
PERSONAL_MODELS: tuple[Any, ...] = (EmailAddress, SocialAccount, Authenticator, ListSetting, SavedView)


def erase(user: User, author: Author) -> None:
    """Overwrite a live or deleted user's personal data, and revoke their keys. Erasing again does nothing.

    Raises ValidationError for the last superuser.
    """
    with transaction.atomic():
        validate_superuser_remains([user])
        user = User.objects.select_for_update().get(pk=user.pk)
        if user.erased_at is not None:
            return
        names = names_of(user)
        picture = user.profile_image.name
        overwrite_fields(user)
        delete_sessions(user)
        revoke_keys(user)
        for model in PERSONAL_MODELS:
            model.objects.filter(user=user).delete()
        scrub_history(user, names)
        scrub_bulk_changes(names)
        BulkChange.objects.filter(author=user).update(address=None)
        # A command's author is the user: use the overwritten one.
        by = user if author.user.pk == user.pk else author.user
        replace(author, user=by).record(user, DELETION, note="Erased.")
        pictures.remove_file(picture)


def overwrite_fields(user: User) -> None:
    now = timezone.now()
    user.groups.clear()
    user.user_permissions.clear()
    user.set_unusable_password()
    values: dict[str, Any] = {
        "name": "Erased user",
        "username": erased_username(user),
        "email": f"erased-{user.pk}@erased.invalid",
        "password": user.password,
        "profile_image": "",
        "time_zone": "UTC",
        "oauth_provider": "",
        "google_id": None,
        "github_id": None,
        "last_login": None,
        "is_active": False,
        "is_staff": False,
        "is_superuser": False,
        "deleted_at": user.deleted_at or now,
        "erased_at": now,
    }
    User.objects.filter(pk=user.pk).update(**values)
    user.refresh_from_db()


def erased_username(user: User) -> str:
    return f"erased_{user.pk}"


def delete_sessions(user: User) -> None:
    sessions = UserSession.objects.filter(user=user)
    Session.objects.filter(session_key__in=list(sessions.values_list("session_key", flat=True))).delete()
    sessions.delete()


def revoke_keys(user: User) -> None:
    user.api_keys.revoke("User erased.")
    user.api_keys.update(last_used_ip=None, allowed_ips=[], metadata={})
    user.usage.update(ip_address=None, user_agent="")


def names_of(user: User) -> set[str]:
    """The user's names, including former ones in the history."""
    entries = LogEntry.objects.filter(about(User.objects.filter(pk=user.pk)))
    changes = [
        change for entry in entries.iterator() for part in parts_of(entry) for change in dicts_in(part.get("values"))
    ]
    former = {change.get(key) for change in changes if change.get("field") in NAME_FIELDS for key in ("old", "new")}
    present = {user.username, user.email, user.name}
    return (present | {name for name in former if isinstance(name, str)}) - PLACEHOLDERS


def about(rows: Any) -> models.Q:
    pks = [str(pk) for pk in rows.order_by().values_list("pk", flat=True)]
    return models.Q(content_type=content_type(rows.model), object_id__in=pks)


def scrub_history(user: User, names: Collection[str]) -> None:
    """Remove the personal data from entries about the user, their keys and their rate limits, and from the user's own entries."""
    owned = about(user.api_keys.all()) | about(user.rate_limits.all())
    about_user = about(User.objects.filter(pk=user.pk))
    entries = LogEntry.objects.filter(about_user | owned | models.Q(user=user)).order_by("pk")
    scrubbed = [scrub_entry(entry, user, names) for entry in entries.iterator()]
    LogEntry.objects.bulk_update(scrubbed, ["object_repr", "change_message"], batch_size=200)


def scrub_bulk_changes(names: Collection[str]) -> None:
    """Remove the names from what they say about users who couldn't be changed, and about who stopped them."""
    for change in BulkChange.objects.exclude(reasons=[], error=""):
        texts = {"reasons": change.reasons, "error": change.error}
        scrubbed = scrub_value(texts, names)
        if scrubbed != texts:
            BulkChange.objects.filter(pk=change.pk).update(**scrubbed)


def content_type(model: type[models.Model]) -> ContentType:
    return ContentType.objects.get_for_model(model)


def scrub_entry(entry: LogEntry, user: User, names: Collection[str]) -> LogEntry:
    if entry.content_type_id == content_type(User).pk and entry.object_id == str(user.pk):
        entry.object_repr = erased_username(user)
    message = [scrub_part(part, names, own=entry.user_id == user.pk) for part in parts_of(entry)]
    entry.change_message = json.dumps(message) if message else ""
    return entry


def parts_of(entry: LogEntry) -> Iterable[dict[str, Any]]:
    try:
        return dicts_in(json.loads(entry.change_message))
    except ValueError:
        return ()


def dicts_in(parts: Any) -> Iterable[dict[str, Any]]:
    return (part for part in parts if isinstance(part, dict)) if isinstance(parts, list) else ()


def scrub_part(part: dict[str, Any], names: Collection[str], *, own: bool) -> dict[str, Any]:
    left_out = {"former", "first"} | ({"ip"} if own else set())
    clean = {key: scrub_value(value, names) for key, value in part.items() if key not in left_out}
    if "values" in clean:
        clean["values"] = [
            change | {"old": ERASED, "new": ERASED} if change.get("field") in PERSONAL_FIELDS else change
            for change in clean["values"]
        ]
    return clean


def scrub_value(value: Any, names: Collection[str]) -> Any:
    """`value` with each text that is or contains one of `names` replaced."""
    if isinstance(value, dict):
        return {key: scrub_value(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [scrub_value(inner, names) for inner in value]
    if not isinstance(value, str):
        return value
    # An email address can be recognized anywhere in a text, but a name can't.
    spelled = [form.format(name) for name in names for form in (("{}",) if "@" in name else MENTIONS)]
    return ERASED if value in names or any(text in value for text in spelled) else value


def purgeable(users: UserQuerySet) -> UserQuerySet:
    """Deleted users, except erased ones who must be kept because the history has entries by them."""
    own_entries = LogEntry.objects.filter(user=models.OuterRef("pk"))
    return users.exclude(models.Q(models.Exists(own_entries), erased_at__isnull=False))


def purge(user: User) -> bool:
    """Permanently remove a deleted user, with their keys and usage. Returns whether it was removed.

    Users with entries in the history are erased instead: Django would remove the entries with the user. Users who were
    restored since `user` was loaded are left alone.
    """
    with transaction.atomic():
        validate_superuser_remains([user])  # locks superusers before the user, as `erase` does
        if not lock_deleted(user):
            return False
        if LogEntry.objects.filter(user=user).exists():
            erase(user, Author(user, via="manage.py purge_deleted"))
            return False
        names = names_of(user)
        scrub_history(user, names)
        scrub_bulk_changes(names)
        pictures.remove_file(user.profile_image.name)
        user.hard_delete()
        return True
