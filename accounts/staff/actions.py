"""Actions of staff on one user or many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from accounts import erasure, services
from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.rights import protected_fields, why_not_change, why_not_remove
from accounts.staff.forms import EraseForm, UserTierForm
from config.base.actions import Action, ActionOutcome
from config.base.edits import PutBack
from config.base.history import Author
from config.base.models import label
from config.base.text import counted
from config.base.undo import FORMER, Operation, former_in
from ratelimits.models import RateLimit
from ratelimits.rules import default_budget
from tiers.models import Tier

MAX_LIMITS = 10
NO_OLD_SESSIONS = "Previous sessions stay signed out."


def with_limits(tiers: Any) -> Any:
    limits = RateLimit.objects.live().order_by("path", "method", "period")
    return tiers.prefetch_related(models.Prefetch("rate_limits", limits, to_attr="live_limits"))


def limits_of(tier: Any) -> str:
    """“GET /orders/*, 100 per minute; everything else, 60 per minute”. tier: from `with_limits`, or None."""
    limits = tier.live_limits if tier is not None else []
    words = [summary_of(limit) for limit in limits[:MAX_LIMITS]]
    more = [f"{len(limits) - MAX_LIMITS} more"] if len(limits) > MAX_LIMITS else []
    default = f"{'everything else' if words else 'everything'}, {default_budget('').in_words}"
    return "; ".join([*words, *more, *([] if any(limit.matches_everything for limit in limits) else [default])])


def summary_of(limit: RateLimit) -> str:
    notes = [*(["overall"] if limit.overall else []), *([] if limit.is_enforced else ["observe only"])]
    return f"{limit.summary} ({', '.join(notes)})" if notes else limit.summary


def counted_keys(keys: Any) -> str:
    count = keys.count()
    return counted(count, "API key") if count else "No API keys"


class UserAction(Action):
    max_at_once = None  # services work in batches

    service: Callable[[UserQuerySet, Author], ActionOutcome]

    def perform(self, rows: UserQuerySet, author: Author, data: dict[str, Any]) -> ActionOutcome:
        return self.service(rows, author)

    def allowed(self, user: Any, rows: UserQuerySet) -> UserQuerySet:
        changeable = rows.changeable_by(user)
        # You can't do this to yourself.
        return changeable.exclude(pk=user.pk) if self.harmful else changeable

    def why_not(self, user: Any, row: User) -> str:
        return why_not_remove(user, row) if self.harmful else why_not_change(user, row)


class Suspend(UserAction):
    name, label, done, undo = "suspend", "Suspend", "{} suspended.", "reactivate"
    harmful = True
    service = staticmethod(services.suspend)
    matching = "effective"

    def effects(self, rows: UserQuerySet) -> list[str]:
        return [
            "They will be signed out everywhere and won't be able to sign in.",
            f"{counted_keys(rows.effective_keys())} will stop working on the next request.",
            f"You can reactivate them at any time, and their keys will work again. {NO_OLD_SESSIONS}",
        ]


class Reactivate(UserAction):
    name, label, done, undo = "reactivate", "Reactivate", "{} reactivated.", "suspend"
    service = staticmethod(services.reactivate)
    matching = "suspended"

    def effects(self, rows: UserQuerySet) -> list[str]:
        return [
            "They can sign in again.",
            f"{counted_keys(rows.usable_keys())} will work again. {NO_OLD_SESSIONS}",
        ]


class Delete(UserAction):
    name, label, done, undo = "delete", "Delete", "{} deleted.", "restore"
    permissions = ("delete",)
    harmful = True
    service = staticmethod(services.delete)
    matching = "live"

    def effects(self, rows: UserQuerySet) -> list[str]:
        return [
            "They will be signed out everywhere and removed from all lists.",
            f"{counted_keys(rows.effective_keys())} will stop working on the next request.",
            "Other people can use their username and email address.",
            "You can restore deleted users until they're purged.",
        ]


class Restore(UserAction):
    name, label, done, undo = "restore", "Restore", "{} restored.", "delete"
    permissions = ("delete",)
    service = staticmethod(services.restore)

    def fits(self, rows: UserQuerySet) -> UserQuerySet:
        return rows.deleted().filter(erased_at__isnull=True)

    def effects(self, rows: UserQuerySet) -> list[str]:
        return [
            f"{counted_keys(rows.filter(is_active=True).usable_keys())} will work again. {NO_OLD_SESSIONS}",
            "Users whose username or email address has been taken stay deleted.",
            "Users whose tier has been deleted move to the default tier.",
        ]


class SignOut(UserAction):
    name, label, done = "sign-out", "Sign out everywhere", "{} signed out everywhere."
    sentences = ("All sessions will end, and password reset links will stop working. API keys keep working.",)
    phrase = "Sign {} out everywhere"
    service = staticmethod(services.sign_out)
    matching = "live"


class Verify(UserAction):
    name, label, done = "verify", "Mark as verified", "Email address of {} marked as verified."
    sentences = ("Only do this if you're sure that the address is theirs.",)
    phrase = "Mark the email address of {} as verified"
    service = staticmethod(services.verify)

    def fits(self, rows: UserQuerySet) -> UserQuerySet:
        return rows.live().unverified()


class SendReset(UserAction):
    name, label, done = "send-reset", "Send password reset email", "Password reset email sent to {}."
    sentences = ("They'll get an email with a link to set a new password. The current one works until then.",)
    phrase = "Send a password reset email to {}"
    matching = "effective"
    service = staticmethod(services.send_password_reset)


class SendVerification(UserAction):
    name, label, done = "resend-verification", "Send verification email", "Verification email sent to {}."
    sentences = ("They'll get an email with a link to confirm that the address is theirs.",)
    phrase = "Send a verification email to {}"
    service = staticmethod(services.send_verification)

    def fits(self, rows: UserQuerySet) -> UserQuerySet:
        return rows.effective().unverified()


class MoveToTier(UserAction):
    """Move many users to the tier chosen in the list."""

    name, label, undo = "tier", "Move to tier", FORMER

    def __init__(self, tier: Tier | None = None) -> None:
        self.tier = tier
        self.phrase = f"Move {{}} to {tier or 'no tier'}"
        self.done = f"{{}} moved to {tier or 'no tier'}."

    def fits(self, rows: UserQuerySet) -> UserQuerySet:
        return services.on_another_tier(rows, self.tier)

    def effects(self, rows: UserQuerySet) -> list[str]:
        tiers = rows.order_by().values("tier__name").annotate(total=models.Count("pk")).order_by("-total")
        moved = [f"{counted(row['total'], 'user')} from {row['tier__name'] or 'no tier'}" for row in tiers]
        tier = with_limits(Tier.objects.filter(pk=self.tier.pk)).first() if self.tier else None
        return [*moved, f"Their rate limits will be: {limits_of(tier)}. Users keep their own rate limits."]

    def perform(self, rows: UserQuerySet, author: Author, data: dict[str, Any]) -> ActionOutcome:
        return services.set_tier(rows, author, self.tier)


class ChangeTier(UserAction):
    """Move one user to the tier chosen on the page."""

    name, label, done, undo = "tier", "Change tier", "Tier of {} changed.", FORMER
    sentences = ("The new rate limits apply to the next request. Earlier requests still count.",)
    phrase = "Change the tier of {}"
    form_class = UserTierForm
    matching = "live"

    def perform(self, rows: UserQuerySet, author: Author, data: dict[str, Any]) -> ActionOutcome:
        return services.set_tier(rows, author, data["tier"], data["tier_until"])


class ChangeBack(UserAction, PutBack):
    """Only to undo an edit of one user, or a change of the tier of many."""

    name, label, done, matching = FORMER, "Change back", "{} changed back.", "live"

    def perform(self, rows: UserQuerySet, author: Author, data: dict[str, Any]) -> ActionOutcome:
        former = {pk: former_in(entry) for pk, entry in data["operation"].of(User).items()}
        if any("until" in values for values in former.values()):
            return services.set_former_tiers(rows, author, former)
        with transaction.atomic():
            if any(values.get(name) is False for values in former.values() for name in ("is_active", "is_superuser")):
                services.validate_superuser_remains(rows)
            return PutBack.perform(self, rows, author, data)

    def put_back(self, row: User, author: Author, operation: Operation) -> None:
        former = operation.former_of(row)
        if why_not := why_not_change_back(author.user, row, former):
            raise ValidationError(why_not)
        services.change_back(row, former, author)


def why_not_change_back(actor: User, user: User, former: Mapping[str, Any]) -> str:
    """Why `actor` may not give the user these values, as a sentence; empty if they may."""
    names = [label(User._meta.get_field(name)) for name in protected_fields(actor, user) & former.keys()]
    return f"You don't have permission to change the {' and '.join(sorted(names))} of “{user}”." if names else ""


class Erase(UserAction):
    name, label, done = "erase", "Erase personal data", "Personal data erased."
    phrase = "Erase the personal data of {}"
    form_class = EraseForm
    harmful = True

    def may(self, user: Any, model: Any) -> bool:
        return bool(user.is_superuser)

    def fits(self, rows: UserQuerySet) -> UserQuerySet:
        return rows.filter(erased_at__isnull=True)

    def effects(self, rows: UserQuerySet) -> list[str]:
        keys = rows.get().api_keys.live()
        return [
            "You can't undo this, not even by restoring the user.",
            "Their name, username, email address, picture and connected accounts will be overwritten, here and in the history.",
            f"{counted_keys(keys)} will be revoked, and the addresses they were used from are removed.",
            "They'll be signed out everywhere and deleted. Usage figures and the times of changes are kept.",
        ]

    def perform(self, rows: UserQuerySet, author: Author, data: dict[str, Any]) -> ActionOutcome:
        erasure.erase(rows.get(), author)
        return ActionOutcome(done=1)


OFFERED = (Suspend(), Reactivate(), Delete(), Restore(), SignOut(), SendReset(), Verify(), SendVerification())
ACTIONS: dict[str, UserAction] = {action.name: action for action in OFFERED}
UNDO_ACTIONS = (*OFFERED, ChangeBack())
BULK_ACTIONS = {name: ACTIONS[name] for name in ("suspend", "delete", "restore")}
# Of the list of users.
SELECTION_ACTIONS = (*BULK_ACTIONS.values(), MoveToTier())
