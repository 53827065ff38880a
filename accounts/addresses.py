"""A user's email address, and whether it's verified, which is only stored in allauth's EmailAddress.

`User.email` is the address in use. An unverified EmailAddress with another address is the one the user wants to change to.
"""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.db import transaction

from accounts.models import User


def is_verified(user: User) -> bool:
    return bool(EmailAddress.objects.filter(user_id=user.pk, email=user.email, verified=True).exists())


def set_address(user: User, *, verified: bool) -> EmailAddress:
    """Make `user.email`, which is saved already, the user's only address. Links sent to others stop working."""
    with transaction.atomic():
        EmailAddress.objects.filter(user_id=user.pk).exclude(email=user.email).delete()
        address, _ = EmailAddress.objects.update_or_create(
            user=user, email=user.email, defaults={"primary": True, "verified": verified}
        )
    return address


def mark_verified(user: User) -> None:
    """Mark the address in use as verified, and keep a pending one pending."""
    EmailAddress.objects.filter(user_id=user.pk).exclude(email=user.email).update(primary=False)
    EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"primary": True, "verified": True})


def pending_address(user: User) -> EmailAddress | None:
    return EmailAddress.objects.filter(user_id=user.pk, verified=False).exclude(email=user.email).last()


def set_pending_address(user: User, email: str) -> EmailAddress:
    with transaction.atomic():
        EmailAddress.objects.filter(user_id=user.pk).exclude(email=user.email).delete()
        return EmailAddress.objects.create(user=user, email=email)


def is_taken(email: str, *, exclude: User | None = None) -> bool:
    users = User.objects.live().filter(email=email)
    return bool((users.exclude(pk=exclude.pk) if exclude else users).exists())
