"""How accounts are found and made."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.models import BaseUserManager
from django.db import models, transaction

from accounts.fields import fold_sign_in_name
from config.base.models import LIVE, SoftDeleteQuerySet
from tiers.models import Tier


def key_model() -> Any:
    # Found by the reverse relation's name: keys stand above accounts, which must not import them.
    return apps.get_model("accounts", "User")._meta.get_field("api_keys").related_model


class UserQuerySet(SoftDeleteQuerySet[Any]):
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

    def changeable_by(self, actor: Any) -> UserQuerySet:
        """The accounts that `actor` may change at all, as `accounts.rights.may_change` decides for one."""
        return self if actor.is_superuser else self.ordinary()

    def matching(self, text: str) -> UserQuerySet:
        """The accounts whose name, username or e-mail address contains each word of `text`, in any letter case."""
        found = self
        for word in text.split():
            found = found.filter(
                models.Q(username__has=word) | models.Q(email__has=word) | models.Q(name_folded__has=word)
            )
        return found

    def with_keys(self, *, held: bool = True) -> UserQuerySet:
        """The accounts that hold (or do not hold) a live key that is not revoked."""
        keys = key_model()._default_manager.live().filter(user=models.OuterRef("pk"), revoked_at__isnull=True)
        return self.filter(models.Exists(keys) if held else ~models.Exists(keys))

    def with_key_counts(self) -> UserQuerySet:
        """Annotate `key_count`: how many live keys that are not revoked each account holds."""
        counted = models.Q(api_keys__deleted_at__isnull=True, api_keys__revoked_at__isnull=True)
        annotated: UserQuerySet = self.annotate(key_count=models.Count("api_keys", filter=counted))
        return annotated

    def verified(self, *, yes: bool = True) -> UserQuerySet:
        """The accounts whose present address was (or was not) shown to be theirs."""
        address: Any = self.model._meta.get_field("emailaddress").related_model
        rows = address.objects.filter(user=models.OuterRef("pk"), email=models.OuterRef("email"), verified=True)
        return self.filter(models.Exists(rows) if yes else ~models.Exists(rows))

    def effective_keys(self) -> Any:
        """The API keys that are accepted now and would stop with these accounts."""
        return key_model()._default_manager.effective().filter(user__in=self.order_by().values("pk"))

    def keys_that_return(self) -> Any:
        """The API keys that are accepted as soon as these accounts may act again."""
        return key_model()._default_manager.usable().filter(user__in=self.order_by().values("pk"))

    def named(self, typed: str) -> UserQuerySet:
        """The accounts, deleted ones too, whose username or e-mail address somebody means by `typed`."""
        name = fold_sign_in_name(typed)
        return self.filter(**{"email" if "@" in name else "username": name})

    def by_sign_in_name(self, typed: str) -> Any:
        """The live account that signs in by this username or e-mail address."""
        return self.live().named(typed).first()

    def update(self, **values: Any) -> int:
        """As Django's; who is suspended by it is signed out as well, for good.

        A new epoch also drops the addresses that the accounts were asked to move to: whoever asked may be locked out now.
        """
        if values.get("is_active") is False:
            values.setdefault("session_epoch", models.F("session_epoch") + 1)
        if "session_epoch" in values:
            self._pending_addresses().delete()
        return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def _pending_addresses(self) -> Any:
        address: Any = self.model._meta.get_field("emailaddress").related_model
        asked_for = address.objects.filter(user__in=self.order_by().values("pk"), verified=False)
        return asked_for.exclude(email=models.F("user__email"))

    def deletion_values(self) -> dict[str, Any]:
        # The epoch ends every session and reset link for good: a restored account does not bring its old cookies back.
        return super().deletion_values() | {"session_epoch": models.F("session_epoch") + 1}


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    def get_by_natural_key(self, username: str | None) -> Any:
        """The live account with this username, in any letter case. Raises User.DoesNotExist."""
        return self.live().get(username=(username or "").casefold())

    def create_user(
        self,
        username: str,
        email: str,
        password: str | None = None,
        *,
        name: str = "",
        verified: bool = True,
        **fields: Any,
    ) -> Any:
        """Make an account on the default tier, unless `tier` says otherwise. Without a password it cannot sign in by one.

        For code and commands, which vouch for the address: it counts as verified unless told otherwise. People sign up
        and staff add accounts through forms. Raises IntegrityError if a live account has the name or the address.
        """
        if "tier" not in fields and "tier_id" not in fields:
            fields["tier"] = Tier.objects.default()
        user = self.model(username=username, email=email, name=name or username, **fields)
        user.set_password(password)
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
            if verified:
                # By way of the reverse relation: allauth's models need this one to be there first.
                user.emailaddress_set.create(email=user.email, verified=True, primary=True)
        return user

    def create_superuser(self, username: str, email: str, password: str | None = None, **fields: Any) -> Any:
        return self.create_user(username, email, password, **{**fields, "is_staff": True, "is_superuser": True})
