"""What owners and staff can do with keys: with one key, or staff with many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from accounts.rights import why_not_change
from apikeys import services
from apikeys.models import APIKey, APIKeyQuerySet
from apikeys.pages.forms import ExpiryForm, RevokeForm, RotateForm
from apikeys.pages.hygiene import unused_permissions
from apikeys.usage.analytics import TimeRange, UsageScope, totals
from config.base.actions import Action, ActionOutcome
from config.base.edits import PutBack
from config.base.history import Author
from config.base.text import ago, counted, exact
from config.base.undo import FORMER, Operation

STOP = ("change", "stop")
BULK_EXPIRY = timedelta(days=30)


class OwnerGuard(Action):
    """Keys act for their owners: who may change a user may change the user's keys."""

    def allowed(self, user: Any, rows: APIKeyQuerySet) -> APIKeyQuerySet:
        return rows.filter(user__in=User.objects.changeable_by(user))

    def why_not(self, user: Any, row: APIKey) -> str:
        return why_not_change(user, row.user)


class KeyAction(OwnerGuard):
    matching = "in_use"
    change: Callable[[APIKey, Author, dict[str, Any]], None]

    def why_unfit(self, row: APIKey) -> str:
        return services.why_not(row, self.name) or super().why_unfit(row)

    def effects(self, rows: APIKeyQuerySet) -> list[str]:
        pks = tuple(rows.values_list("pk", flat=True))
        allowed = counted(totals(UsageScope(keys=pks), TimeRange.of_last_days(30)).allowed, "request")
        owners = counted(rows.order_by().values("user").distinct().count(), "user")
        subject = f"{len(pks):,} API keys of {owners}, used" if len(pks) > 1 else "Used"
        return [f"{subject} for {allowed} in the last 30 days.", *self.sentences]

    def notes(self, rows: Sequence[APIKey]) -> Iterable[str]:
        return (
            f"of {key.user}, {key.state}, last used {ago(key.last_used_at) if key.last_used_at else 'never'}"
            for key in rows
        )

    def perform(self, rows: APIKeyQuerySet, author: Author, data: dict[str, Any]) -> ActionOutcome:
        """Each key in a transaction of its own: one that can't be changed doesn't hold up the others."""
        outcome = ActionOutcome()
        for key in rows.select_related("user"):
            try:
                self.change(key, author, data)
            except ValidationError as error:
                outcome.refused.append(f"“{key}”: {' '.join(error.messages)}")
            else:
                outcome.done += 1
        return outcome


class Rotated(ActionOutcome):
    secret = ""


class Rotate(KeyAction):
    name, label, done = "rotate", "Rotate", "{} rotated."
    form_class = RotateForm
    sentences = (
        "The key keeps its name, permissions and rate limit.",
        "You'll see its new secret once, on the next page.",
    )

    def effects(self, rows: APIKeyQuerySet) -> list[str]:
        key = rows.get()
        effects = super().effects(rows)
        if key.previous_works and key.previous_expires_at:
            used = ago(key.previous_last_used_at) if key.previous_last_used_at else "never"
            ends = exact(key.previous_expires_at)
            effects.append(
                f"The previous secret, which works until {ends}, will stop working immediately (last used {used})."
            )
        return effects

    @sensitive_variables()
    def perform(self, rows: APIKeyQuerySet, author: Author, data: dict[str, Any]) -> ActionOutcome:
        outcome = Rotated(done=1)
        outcome.secret = services.rotate_key(data["key"], author, grace=data["grace"])
        return outcome


class Expire(KeyAction):
    name, label, done = "expire", "Bring expiry forward", "Expiry of {} brought forward."
    phrase = "Bring the expiry of {} forward"
    form_class = ExpiryForm
    sentences = ("You can't move it later again.",)

    def effects(self, rows: APIKeyQuerySet) -> list[str]:
        expires_at = rows.get().expires_at
        now = f"It expires {ago(expires_at)} ({exact(expires_at)})." if expires_at else "It doesn't expire."
        return [now, *super().effects(rows)]

    def change(self, key: APIKey, author: Author, data: dict[str, Any]) -> None:
        services.shorten_expiry(key, author, expires_at=data["expires_at"])


class ExpireMany(KeyAction):
    name, label, done = "expire", "Expire in 30 days", "{} will expire in 30 days."
    phrase = "Expire {} in 30 days"
    sentences = ("You can't move the expiry later again. Keys that expire sooner don't change.",)

    def change(self, key: APIKey, author: Author, data: dict[str, Any]) -> None:
        services.shorten_expiry(key, author, expires_at=timezone.now() + BULK_EXPIRY)


class Disable(KeyAction):
    name, label, done, undo, matching = "disable", "Disable", "{} disabled.", "enable", "usable"
    permissions = STOP
    sentences = ("All requests are denied from now on, until the key is enabled again.",)
    harmful = True

    def change(self, key: APIKey, author: Author, data: dict[str, Any]) -> None:
        services.set_enabled(key, author, enabled=False)


class Enable(KeyAction):
    name, label, done, undo = "enable", "Enable", "{} enabled.", "disable"
    permissions = STOP

    def effects(self, rows: APIKeyQuerySet) -> list[str]:
        key = rows.select_related("user").get()
        works = "It works again immediately, with the same secret, permissions and rate limit."
        denied = f"Requests are still denied while its owner is {key.user.state}."
        return [*super().effects(rows), works if key.user.is_effective else denied]

    def change(self, key: APIKey, author: Author, data: dict[str, Any]) -> None:
        services.set_enabled(key, author, enabled=True)


class Revoke(KeyAction):
    name, label, done, matching = "revoke", "Revoke", "{} revoked.", "unrevoked"
    permissions = STOP
    sentences = (
        "All requests are denied from now on, permanently. To pause a key, disable it instead.",
        "Its usage is kept.",
    )
    harmful = True
    form_class = RevokeForm

    def change(self, key: APIKey, author: Author, data: dict[str, Any]) -> None:
        services.revoke_key(key, author, reason=data["reason"])


class Trim(KeyAction):
    name, label, done, undo = "trim", "Remove unused permissions", "Unused permissions of {} removed.", FORMER
    phrase = "Remove the unused permissions of {}"
    sentences = ("Removes the permissions that no request used in the last 90 days. The list shows which ones.",)

    def notes(self, rows: Sequence[APIKey]) -> Iterable[str]:
        unused = unused_permissions([key.pk for key in rows])
        return (f"loses {', '.join(map(str, unused.get(key.pk, []))) or 'nothing'}" for key in rows)

    def change(self, key: APIKey, author: Author, data: dict[str, Any]) -> None:
        with transaction.atomic():
            services.lock(key)
            unused = {permission.pk for permission in unused_permissions([key.pk]).get(key.pk, [])}
            kept = [row.permission for row in key.permissions.all() if row.pk not in unused]
            services.edit_key(key, author, permissions=kept)


class PutBackKey(OwnerGuard, PutBack):
    matching = "in_use"

    def why_unfit(self, row: APIKey) -> str:
        return services.why_not(row, "edit")

    def put_back(self, row: APIKey, author: Author, operation: Operation) -> None:
        services.edit_key(row, author, **operation.former_of(row))


ACTIONS = (Rotate(), Expire(), Disable(), Enable(), Revoke())
UNDO_ACTIONS = (*ACTIONS, PutBackKey())
BULK_ACTIONS = (Disable(), Revoke(), ExpireMany(), Trim())
