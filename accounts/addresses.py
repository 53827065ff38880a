"""A person's e-mail address, and whether it was shown to be his: allauth's EmailAddress is the one place that knows.

`User.email` is the address in use. An unverified EmailAddress beside it is the one he is moving to.
"""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.db import transaction

from accounts.models import User


def is_verified(user: User) -> bool:
    """Whether the address in use was shown to be this person's."""
    return bool(EmailAddress.objects.filter(user_id=user.pk, email=user.email, verified=True).exists())


def set_address(user: User, *, verified: bool) -> EmailAddress:
    """Make `user.email`, already saved, the only address of the account, verified or not.

    For staff and commands: accounts that they make are marked verified, an address that they change is not. Links that
    were sent for other addresses are dead after this.
    """
    with transaction.atomic():
        EmailAddress.objects.filter(user_id=user.pk).exclude(email=user.email).delete()
        address, _ = EmailAddress.objects.update_or_create(
            user=user, email=user.email, defaults={"primary": True, "verified": verified}
        )
    return address


def confirm(user: User) -> None:
    """Take the address in use as shown to be this person's; one that he is moving to stays pending."""
    EmailAddress.objects.filter(user_id=user.pk).exclude(email=user.email).update(primary=False)
    EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"primary": True, "verified": True})


def pending_address(user: User) -> EmailAddress | None:
    """The address that this person asked to move to and has not confirmed yet."""
    return EmailAddress.objects.filter(user_id=user.pk, verified=False).exclude(email=user.email).last()


def start_move(user: User, email: str) -> EmailAddress:
    """Note that this person wants to move to `email` (normalised), in place of what he may have asked for before."""
    with transaction.atomic():
        EmailAddress.objects.filter(user_id=user.pk).exclude(email=user.email).delete()
        return EmailAddress.objects.create(user=user, email=email)


def is_taken(email: str, *, by_other_than: User | None = None) -> bool:
    """Whether a live account has this address; those of deleted accounts are free again."""
    others = User.objects.live().filter(email=email)
    return bool((others.exclude(pk=by_other_than.pk) if by_other_than else others).exists())
