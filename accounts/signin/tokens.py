from __future__ import annotations

from typing import Any

from django.contrib.auth.tokens import PasswordResetTokenGenerator

from accounts.models import User


class ResetTokenGenerator(PasswordResetTokenGenerator):
    """Django's token, which ends with the password, the address and the next sign-in; here also with the session epoch.

    Suspend, delete and "sign out everywhere" move the epoch, so an earlier link stays invalid after a restore.
    """

    key_salt = "accounts.signin.tokens.ResetTokenGenerator"

    def _make_hash_value(self, user: Any, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.session_epoch}"

    def check_token(self, user: Any, token: str | None) -> bool:
        return isinstance(user, User) and user.is_effective and super().check_token(user, token)
