"""Who a name and a password belong to."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts.models import User
from accounts.validators import LONGEST_PASSWORD
from config.base.validators import validate_encodable


class LiveUserBackend(ModelBackend):
    """Django's backend over live accounts only: a suspended or deleted account has no session and no rights."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        email: str | None = None,
        **credentials: Any,
    ) -> User | None:
        """The effective account with this username or e-mail address and this password, or None.

        One look-up and one password hash whatever the answer is, so that its time tells nothing about the name.
        """
        name = username or email
        if not name or not password or not can_be_a_password(password):
            return None
        user = User.objects.by_sign_in_name(name)
        if user is None:
            User().set_password(password)
            return None
        return user if user.check_password(password) and user.is_effective else None

    def user_can_authenticate(self, user: object) -> bool:
        return bool(getattr(user, "is_effective", False))


def can_be_a_password(password: str) -> bool:
    """Whether hashing it makes sense at all; which names exist plays no part in that."""
    try:
        validate_encodable(password)
    except ValidationError:
        return False
    return len(password) <= LONGEST_PASSWORD
