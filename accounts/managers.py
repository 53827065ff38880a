"""How accounts are found and made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import BaseUserManager
from django.db import models

from config.base_models import LIVE, SoftDeleteQuerySet
from tiers.models import Tier

if TYPE_CHECKING:
    from accounts.models import User


class UserQuerySet(SoftDeleteQuerySet["User"]):
    def effective(self) -> UserQuerySet:
        """The accounts that may do something now: live and not suspended."""
        return self.filter(LIVE, is_active=True)

    def suspended(self) -> UserQuerySet:
        return self.filter(LIVE, is_active=False)

    def superusers(self) -> UserQuerySet:
        """The superusers who can sign in; the last of them may not be removed."""
        return self.effective().filter(is_superuser=True)

    def ordinary(self) -> UserQuerySet:
        """Neither staff nor superusers: the accounts that staff who are not superusers may change."""
        return self.filter(is_staff=False, is_superuser=False)

    def by_sign_in_name(self, name: str) -> User | None:
        """The live account that signs in by `name`, a folded user name or e-mail address (accounts/names.py)."""
        field = "email" if "@" in name else "username"
        return self.live().filter(**{field: name}).first()

    def deletion_values(self) -> dict[str, Any]:
        # The epoch ends every session and reset link for good: a restored account does not bring its old cookies back.
        return super().deletion_values() | {"session_epoch": models.F("session_epoch") + 1}


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    def get_by_natural_key(self, username: str | None) -> User:
        """The live account with this user name, in any letter case. Raises User.DoesNotExist."""
        user: User = self.live().get(username=(username or "").casefold())
        return user

    def create_user(
        self, username: str, email: str, password: str | None = None, *, name: str = "", **fields: Any
    ) -> User:
        """Make an account on the default tier, unless `tier` says otherwise. Without a password it cannot sign in by one.

        Raises IntegrityError if a live account has the name or the address: forms validate first.
        """
        if "tier" not in fields and "tier_id" not in fields:
            fields["tier"] = Tier.objects.default()
        user: User = self.model(username=username, email=email, name=name or username, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(username, email, password, **{**fields, "is_staff": True, "is_superuser": True})
