"""What staff can do to accounts, to one or to many: who may, whom it fits, what it will mean, how it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import models

from accounts import services
from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.services import Outcome
from accounts.staff import mails
from config.base.history import Author
from config.base.text import counted
from tiers.models import Tier

Effects = Callable[[UserQuerySet], list[str]]


@dataclass(frozen=True)
class Action:
    slug: str
    label: str
    # The past participle for the message afterwards: “3 accounts suspended.”
    done: str
    permission: str
    # Those of a set of accounts that the action would change at all.
    fits: Callable[[UserQuerySet], UserQuerySet]
    perform: Callable[[UserQuerySet, Author], Outcome]
    effects: Effects
    # Harm is asked about once more, shown in red, and never done to oneself.
    harmful: bool = False
    undo: str = ""
    bulk: bool = False

    def may_touch(self, users: UserQuerySet, actor: Any) -> UserQuerySet:
        """Those of `users` to whom `actor` may do this, whether it would change them or not."""
        allowed = users.changeable_by(actor)
        return allowed.exclude(pk=actor.pk) if self.harmful else allowed


def keys_stop(users: UserQuerySet) -> str:
    return f"{counted(users.effective_keys().count(), 'API key')} will stop working on the next request."


def suspension(users: UserQuerySet) -> list[str]:
    return [
        f"{counted(users.count(), 'account')} will be signed out everywhere and cannot sign in.",
        keys_stop(users),
        "Nothing is lost: reactivate an account, and its keys work again. Old sessions stay dead.",
    ]


def deletion(users: UserQuerySet) -> list[str]:
    return [
        f"{counted(users.count(), 'account')} will be signed out everywhere and leave all lists.",
        keys_stop(users),
        "Usernames and e-mail addresses become free for new accounts.",
        "Nothing is lost: a deleted account can be restored until it is purged.",
    ]


def restoration(users: UserQuerySet) -> list[str]:
    keys = users.filter(is_active=True, erased_at__isnull=True).keys_that_return().count()
    return [
        f"{counted(users.count(), 'account')} will come back.",
        f"{counted(keys, 'API key')} will work again. Old sessions stay dead.",
        "An account whose username or e-mail address was taken meanwhile stays deleted, and you are told which.",
        "A user whose tier was deleted meanwhile comes back on the default tier.",
    ]


def reactivation(users: UserQuerySet) -> list[str]:
    return [
        f"{counted(users.count(), 'account')} can sign in again.",
        f"{counted(users.keys_that_return().count(), 'API key')} will work again. Old sessions stay dead.",
    ]


def signing_out(users: UserQuerySet) -> list[str]:
    return [f"Every session and reset link of {counted(users.count(), 'account')} ends. API keys keep working."]


def moving(users: UserQuerySet) -> list[str]:
    """How many accounts leave which tier."""
    rows = users.order_by().values("tier__name").annotate(total=models.Count("pk")).order_by("-total")
    return [f"{counted(row['total'], 'account')} from {row['tier__name'] or 'no tier'}" for row in rows]


def to_tier(tier: Tier | None) -> Action:
    """The action that moves accounts to `tier`; None is “no tier”, where the default limit applies."""
    return Action(
        slug="tier",
        label=f"Move to {tier or 'no tier'}",
        done=f"moved to {tier or 'no tier'}",
        permission="accounts.change_user",
        fits=lambda users: services.on_another_tier(users, tier),
        perform=lambda users, author: services.set_tier(users, author, tier),
        effects=moving,
        bulk=True,
    )


def constant(effects: list[str]) -> Effects:
    return lambda _users: effects


def mail_each(send: Callable[[Any, User], None], note: str) -> Callable[[UserQuerySet, Author], Outcome]:
    """An action that mails each of the accounts, and says so in its history."""

    def perform(users: UserQuerySet, author: Author) -> Outcome:
        outcome = Outcome()
        for user in users:
            send(author.request, user)
            services.note(user, note, author)
            outcome.done += 1
        return outcome

    return perform


ACTIONS = {
    action.slug: action
    for action in (
        Action(
            "suspend",
            "Suspend",
            "suspended",
            "accounts.change_user",
            UserQuerySet.effective,
            services.suspend,
            suspension,
            harmful=True,
            undo="reactivate",
            bulk=True,
        ),
        Action(
            "reactivate",
            "Reactivate",
            "reactivated",
            "accounts.change_user",
            UserQuerySet.suspended,
            services.reactivate,
            reactivation,
            undo="suspend",
        ),
        Action(
            "delete",
            "Delete",
            "deleted",
            "accounts.delete_user",
            UserQuerySet.live,
            services.delete,
            deletion,
            harmful=True,
            undo="restore",
            bulk=True,
        ),
        Action(
            "restore",
            "Restore",
            "restored",
            "accounts.delete_user",
            lambda users: users.deleted().filter(erased_at__isnull=True),
            services.restore,
            restoration,
            undo="delete",
            bulk=True,
        ),
        Action(
            "sign-out",
            "Sign out everywhere",
            "signed out everywhere",
            "accounts.change_user",
            UserQuerySet.live,
            services.sign_out,
            signing_out,
        ),
        Action(
            "send-reset",
            "Send reset mail",
            "sent a mail with a link to set a new password",
            "accounts.change_user",
            UserQuerySet.effective,
            mail_each(mails.send_reset, "Reset mail sent."),
            constant(["A mail with a link to set a new password. The old password works until then."]),
        ),
        Action(
            "verify",
            "Mark as verified",
            "marked as verified",
            "accounts.change_user",
            lambda users: users.live().verified(yes=False),
            services.verify,
            constant(["The e-mail address counts as the person's own from now on. Do this only if you are sure."]),
        ),
        Action(
            "resend-verification",
            "Resend verification mail",
            "sent a verification mail",
            "accounts.change_user",
            lambda users: users.effective().verified(yes=False),
            mail_each(mails.send_verification, "Verification mail sent."),
            constant(["A mail with a link that shows the address to be the person's own."]),
        ),
    )
}
BULK_ACTIONS = {slug: action for slug, action in ACTIONS.items() if action.bulk}
