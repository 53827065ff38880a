"""Who among the staff may do what to whom: the escalation guard of the admin and of the staff pages.

Permissions say what kind of thing a person may do; these functions say to which account. Staff who are not superusers
may touch ordinary accounts only, and never what makes an account more than ordinary. Superusers may do all that leaves
one of them able to sign in, but not lock themselves out.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from accounts.models import User

# What makes an account more than ordinary.
PRIVILEGE_FIELDS = frozenset({"is_staff", "is_superuser", "groups", "user_permissions"})
# What a superuser may not take from himself.
OWN_ACCESS_FIELDS = frozenset({"is_active", "is_staff", "is_superuser"})
# Whoever sets the address can have a link mailed there that sets the password. Only superusers move somebody's, and
# nobody his own without giving his password, which his account's pages ask for.
TAKE_OVER_FIELDS = frozenset({"email"})


def may_change(actor: User, target: User) -> bool:
    """Whether `actor`, given the permission, may change this account."""
    return not why_not_change(actor, target)


def protected_fields(actor: User, target: User | None) -> frozenset[str]:
    """The fields of `target` (None: of a new account) that `actor` may see but not set."""
    if target is None:
        return frozenset() if actor.is_superuser else PRIVILEGE_FIELDS
    if not actor.is_superuser:
        return PRIVILEGE_FIELDS | TAKE_OVER_FIELDS
    return OWN_ACCESS_FIELDS | TAKE_OVER_FIELDS if target.pk == actor.pk else frozenset()


def why_not_change(actor: User, target: User) -> str:
    """Why `actor` may not change this account, as a sentence; empty if he may."""
    if not actor.is_effective:
        return "Your account is suspended or deleted."
    if target.is_privileged and not actor.is_superuser:
        return f"Only superusers may change “{target}”, who is staff."
    return ""


def why_not_remove(actor: User, target: User) -> str:
    """Why `actor` may not suspend, delete or erase this account, as a sentence; empty if he may."""
    if target.pk == actor.pk:
        return "You cannot suspend or delete your own account here: you would lock yourself out."
    reason = why_not_change(actor, target)
    if not reason and target.is_superuser and would_remove_last_superuser([target]):
        return f"“{target}” is the last superuser who can sign in. Make somebody else a superuser first."
    return reason


def would_remove_last_superuser(targets: Iterable[User]) -> bool:
    """Whether nobody who is a superuser could sign in any more once `targets` are gone, suspended or demoted.

    Inside a transaction the superusers' rows are locked, so that two superusers cannot remove each other at once.
    """
    gone = {target.pk for target in targets}
    superusers = User.objects.superusers().order_by("pk")
    if transaction.get_connection().in_atomic_block:
        superusers = superusers.select_for_update()
    present = set(superusers.values_list("pk", flat=True))
    return bool(present & gone) and not present - gone
