"""The rows in which allauth keeps whether an address was shown to be its holder's."""

from __future__ import annotations

from allauth.account.models import EmailAddress

from accounts.models import User


def present_address(user: User) -> EmailAddress:
    """The row of the account's present address, made if need be, and the primary one."""
    address, _ = EmailAddress.objects.get_or_create(user=user, email=user.email)
    if not address.primary:
        EmailAddress.objects.filter(user=user).update(primary=False)
        address.primary = True
        address.save(update_fields=["primary"])
    return address


def move_address(user: User) -> None:
    """Begin anew after the account's address was changed: nothing known of the old one holds for the new one."""
    EmailAddress.objects.filter(user=user).delete()
    present_address(user)


def confirm_address(user: User) -> None:
    address = present_address(user)
    address.verified = True
    address.save(update_fields=["verified"])


def is_verified(user: User) -> bool:
    return EmailAddress.objects.filter(user=user, email=user.email, verified=True).exists()
