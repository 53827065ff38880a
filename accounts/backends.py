"""Who a name and a password belong to."""

from __future__ import annotations

from django.contrib.auth.backends import ModelBackend


class LiveUserBackend(ModelBackend):
    """Django's backend over live accounts only: a suspended or deleted account has no session and no rights."""

    def user_can_authenticate(self, user: object) -> bool:
        return bool(getattr(user, "is_effective", False))
