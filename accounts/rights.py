"""Prevents privilege escalation: permissions say what staff can do, and this module says to which users.

Staff who aren't superusers can only change ordinary users, and can't give them privileges. Superusers can do anything except
lock themselves out or remove the last superuser.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from accounts.models import User

PRIVILEGE_FIELDS = frozenset({"is_staff", "is_superuser", "groups", "user_permissions"})
# A superuser can't take these from themselves.
OWN_ACCESS_FIELDS = frozenset({"is_active", "is_staff", "is_superuser"})
# A reset link goes to the address. Only superusers may change someone else's; the account pages, where users change
# their own, ask for the password.
TAKEOVER_FIELDS = frozenset({"email"})


def may_change(actor: User, target: User) -> bool:
    return not why_not_change(actor, target)


def protected_fields(actor: User, target: User | None) -> frozenset[str]:
    """The fields of `target` (None: a new user) that `actor` may see but not set."""
    if target is None:
        return frozenset() if actor.is_superuser else PRIVILEGE_FIELDS
    if not actor.is_superuser:
        return PRIVILEGE_FIELDS | TAKEOVER_FIELDS
    return OWN_ACCESS_FIELDS | TAKEOVER_FIELDS if target.pk == actor.pk else frozenset()


def why_not_change(actor: User, target: User) -> str:
    """Why `actor` may not change this user, as a sentence; empty if they may."""
    if not actor.is_effective:
        return "Your account is suspended or deleted."
    if target.is_privileged and not actor.is_superuser:
        return f"Only superusers can change “{target}”, who is staff."
    return ""


def why_not_remove(actor: User, target: User) -> str:
    """Why `actor` may not suspend, delete or erase this user, as a sentence; empty if they may."""
    if target.pk == actor.pk:
        return "You can't suspend or delete your own account here: you would lock yourself out."
    reason = why_not_change(actor, target)
    if not reason and target.is_superuser and would_remove_last_superuser([target]):
        return f"“{target}” is the last superuser who can sign in. Make someone else a superuser first."
    return reason


def would_remove_last_superuser(targets: Iterable[User]) -> bool:
    """Whether no superuser could sign in without `targets`. Inside a transaction it locks all superusers."""
    removed = {target.pk for target in targets}
    superusers = User.objects.superusers().order_by("pk")
    if transaction.get_connection().in_atomic_block:
        superusers = superusers.select_for_update()
    present = set(superusers.values_list("pk", flat=True))
    return bool(present & removed) and not present - removed
