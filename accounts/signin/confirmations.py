from __future__ import annotations

from allauth.account.app_settings import EMAIL_CONFIRMATION_EXPIRE_DAYS
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.core import signing

from accounts.models import User

SALT = "accounts.signin.confirmations"
MAX_AGE = EMAIL_CONFIRMATION_EXPIRE_DAYS * 24 * 3600


class Confirmation(EmailConfirmationHMAC):  # type: ignore[misc]
    """allauth's link that verifies an email address; here it works once and ends with the user's session epoch.

    A new password, suspend, delete and "sign out everywhere" move the epoch, so that an attacker who had access can't move
    the account to their own address afterwards.
    """

    @property
    def key(self) -> str:
        address = self.email_address
        return signing.dumps([address.pk, address.email, address.user.session_epoch], salt=SALT)

    @classmethod
    def from_key(cls, key: str) -> Confirmation | None:
        try:
            pk, email, epoch = signing.loads(key, max_age=MAX_AGE, salt=SALT)
        except signing.BadSignature:
            return None
        unverified = EmailAddress.objects.select_related("user").filter(verified=False)
        address = unverified.filter(
            pk=pk, email=email, user__session_epoch=epoch, user__in=User.objects.effective()
        ).first()
        return cls(address) if address else None

    def is_valid_and_locked(self) -> bool:
        """Whether the link still works; until this transaction ends, no one else can use it."""
        list(User.objects.select_for_update(no_key=True).filter(pk=self.email_address.user_id))
        return self.from_key(self.key) is not None
