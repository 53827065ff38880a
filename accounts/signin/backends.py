from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts.models import User
from accounts.validators import MAX_PASSWORD_LENGTH
from config.base.validators import validate_encodable


class LiveUserBackend(ModelBackend):
    """Django's backend for live, active users: the others have no sessions and no permissions."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        email: str | None = None,
        **credentials: Any,
    ) -> User | None:
        """The active user with this username or email address and password.

        Always one query and one password hash, so that the response time doesn't tell whether the user exists.
        """
        login = username or email
        if not login or not password or not is_hashable(password):
            return None
        user: User | None = User.objects.find_by_login(login)
        if user is None:
            User().set_password(password)
            return None
        return user if user.check_password(password) and user.is_effective else None

    def user_can_authenticate(self, user: object) -> bool:
        return isinstance(user, User) and user.is_effective


def is_hashable(password: str) -> bool:
    try:
        validate_encodable(password)
    except ValidationError:
        return False
    return len(password) <= MAX_PASSWORD_LENGTH
