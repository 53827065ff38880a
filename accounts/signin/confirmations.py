"""The link that shows an email address to be somebody's own: signed, good for three days, once, and within one epoch."""

from __future__ import annotations

from allauth.account.app_settings import EMAIL_CONFIRMATION_EXPIRE_DAYS
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.core import signing

from accounts.models import User

SALT = "accounts.signin.confirmations"
LIFETIME = EMAIL_CONFIRMATION_EXPIRE_DAYS * 24 * 3600


class Confirmation(EmailConfirmationHMAC):  # type: ignore[misc]
    """allauth's confirmation, whose link also dies with the account's session epoch.

    A new password, suspension, deletion and "sign out everywhere" move the epoch, so that whoever was in the account
    before cannot move it to an address of their own afterwards.
    """

    @property
    def key(self) -> str:
        address = self.email_address
        return signing.dumps([address.pk, address.email, address.user.session_epoch], salt=SALT)

    @classmethod
    def from_key(cls, key: str) -> Confirmation | None:
        try:
            pk, email, epoch = signing.loads(key, max_age=LIFETIME, salt=SALT)
        except signing.BadSignature:
            return None
        open_addresses = EmailAddress.objects.select_related("user").filter(verified=False)
        address = open_addresses.filter(
            pk=pk, email=email, user__session_epoch=epoch, user__in=User.objects.effective()
        ).first()
        return cls(address) if address else None

    def is_still_good(self) -> bool:
        """Look again, and keep others who have the link out until this transaction ends."""
        list(User.objects.select_for_update(no_key=True).filter(pk=self.email_address.user_id))
        return self.from_key(self.key) is not None
