"""Erasing a person: his data is overwritten, the row and what was done with it stay; and purging, which removes rows.

docs/accounts.md tells the three verbs apart: delete, erase, purge.
"""

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
from accounts.models import User
from accounts.services import validate_superuser_remains
from config.base.history import DELETION, Author

ERASED = "(erased)"
# The fields of an account, by the names under which its history has them, whose values are about the person.
PERSONAL_FIELDS = frozenset(
    str(field.verbose_name)
    for field in User._meta.concrete_fields
    if field.name in {"name", "username", "email", "profile_image", "google_id", "github_id"}
)
KINDS_ABOUT_A_PERSON = (EmailAddress, SocialAccount, Authenticator)


def erase(user: User, author: Author) -> None:
    """Overwrite everything that tells who the account belonged to, revoke its keys, and keep the row and its history.

    Works on a live or a deleted account; erasing again does nothing. Raises ValidationError for the last superuser.
    """
    with transaction.atomic():
        validate_superuser_remains([user])
        user = User.objects.select_for_update().get(pk=user.pk)
        if user.erased_at is not None:
            return
        known_as = {user.username, user.email, user.name}
        picture = user.profile_image.name
        overwrite(user)
        forget_sessions(user)
        forget_keys(user)
        for model in KINDS_ABOUT_A_PERSON:
            model.objects.filter(user=user).delete()
        scrub_history(user, known_as)
        # A command has no person to name but the one concerned, under what is left of his name.
        by = user if author.user.pk == user.pk else author.user
        replace(author, user=by).record(user, DELETION, note="Erased.")
        pictures.remove_file(picture)


def overwrite(user: User) -> None:
    now = timezone.now()
    user.groups.clear()
    user.user_permissions.clear()
    user.set_unusable_password()
    values: dict[str, Any] = {
        "name": "Erased account",
        "username": stub_name(user),
        "email": f"erased-{user.pk}@erased.invalid",
        "password": user.password,
        "profile_image": "",
        "oauth_provider": "",
        "google_id": None,
        "github_id": None,
        "last_login": None,
        "is_active": False,
        "is_staff": False,
        "is_superuser": False,
        "session_epoch": models.F("session_epoch") + 1,
        "deleted_at": user.deleted_at or now,
        "erased_at": now,
    }
    User.objects.filter(pk=user.pk).update(**values)
    user.refresh_from_db()


def stub_name(user: User) -> str:
    """What an erased person is called from then on."""
    return f"erased_{user.pk}"


def forget_sessions(user: User) -> None:
    """Remove the session rows that are known to be this account's; its epoch has killed all of them already."""
    known = UserSession.objects.filter(user=user)
    Session.objects.filter(session_key__in=list(known.values_list("session_key", flat=True))).delete()
    known.delete()


def forget_keys(user: User) -> None:
    """Revoke the keys, and forget which addresses and programs they were used from."""
    user.api_keys.revoke("The account was erased.")
    user.api_keys.update(last_used_ip=None, allowed_ips=[], metadata={})
    user.usage.update(ip_address=None, user_agent="")


def scrub_history(user: User, known_as: Collection[str]) -> None:
    """Take the person's data out of what the history says of the account, of its keys, and of what he did himself."""
    about_keys = models.Q(
        content_type=content_type(user.api_keys.model),
        object_id__in=[str(pk) for pk in user.api_keys.values_list("pk", flat=True)],
    )
    about_him = models.Q(content_type=content_type(User), object_id=str(user.pk))
    found = LogEntry.objects.filter(about_him | about_keys | models.Q(user=user)).order_by("pk")
    changed = [scrubbed(row, user, known_as) for row in found.iterator()]
    LogEntry.objects.bulk_update(changed, ["object_repr", "change_message"], batch_size=200)


def content_type(model: type[models.Model]) -> ContentType:
    return ContentType.objects.get_for_model(model)


def scrubbed(row: LogEntry, user: User, known_as: Collection[str]) -> LogEntry:
    if row.content_type_id == content_type(User).pk and row.object_id == str(user.pk):
        row.object_repr = stub_name(user)
    try:
        parts = json.loads(row.change_message)
    except ValueError:
        parts = []
    message = [scrubbed_part(part, known_as, own=row.user_id == user.pk) for part in as_dicts(parts)]
    row.change_message = json.dumps(message) if message else ""
    return row


def as_dicts(parts: Any) -> Iterable[dict[str, Any]]:
    return (part for part in parts if isinstance(part, dict)) if isinstance(parts, list) else ()


def scrubbed_part(part: dict[str, Any], known_as: Collection[str], *, own: bool) -> dict[str, Any]:
    """One part of an entry's message without the person's data; his own entries lose their address too."""
    clean = {name: without_names(value, known_as) for name, value in part.items() if not (own and name == "ip")}
    if "values" in clean:
        clean["values"] = [
            change | {"old": ERASED, "new": ERASED} if change.get("field") in PERSONAL_FIELDS else change
            for change in clean["values"]
        ]
    return clean


def without_names(value: Any, known_as: Collection[str]) -> Any:
    """`value` with each text in it that is, or speaks of, the person replaced."""
    if isinstance(value, dict):
        return {name: without_names(inner, known_as) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_names(inner, known_as) for inner in value]
    if not isinstance(value, str):
        return value
    # An address is told from other words wherever it stands, a name only in the quotation marks of our own sentences.
    named = any((name if "@" in name else f"“{name}”") in value for name in known_as)
    return ERASED if named or value in known_as else value


def purgeable(users: UserQuerySet) -> UserQuerySet:
    """Those of deleted `users` with whom `purge` has something to do: a stub that must stay is done with."""
    own_entries = LogEntry.objects.filter(user=models.OuterRef("pk"))
    return users.exclude(models.Q(models.Exists(own_entries), erased_at__isnull=False))


def purge(user: User) -> bool:
    """Remove a deleted account for good, with its keys and their usage; whether it was removed.

    Where the history says that the account itself did something, an erased stub stays: Django removes a person's entries
    with the person.
    """
    with transaction.atomic():
        if LogEntry.objects.filter(user=user).exists():
            erase(user, Author(user, via="manage.py purge_deleted"))
            return False
        scrub_history(user, {user.username, user.email, user.name})
        pictures.remove_file(user.profile_image.name)
        user.hard_delete()
        return True
