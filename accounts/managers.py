from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.models import BaseUserManager
from django.db import connection, models, transaction

from accounts.fields import normalize_email, normalize_login
from config.base.matching import MAX_MATCHES, SHORTEST_INSIDE, Ids, any_of, has_word, ids_with, search
from config.base.models import LIVE, SoftDeleteQuerySet
from config.base.text import search_form
from config.base.text_index import TextIndex, phrase
from tiers.models import Tier


def key_model() -> Any:
    # Keys are in a layer above, so they can't be imported here.
    return apps.get_model("accounts", "User")._meta.get_field("api_keys").related_model


SEARCHED = ("username", "email", "name_folded")
text_index = TextIndex("user", SEARCHED)


def user_has(word: str) -> models.Q:
    return any_of([has_word(name, word) for name in SEARCHED])


class UserQuerySet(SoftDeleteQuerySet[Any]):
    def effective(self) -> UserQuerySet:
        """Users who can act now: live and not suspended."""
        return self.filter(LIVE, is_active=True)

    def suspended(self) -> UserQuerySet:
        return self.filter(LIVE, is_active=False)

    def superusers(self) -> UserQuerySet:
        """Superusers who can sign in."""
        return self.effective().filter(is_superuser=True)

    def ordinary(self) -> UserQuerySet:
        """Neither staff nor superusers."""
        return self.filter(is_staff=False, is_superuser=False)

    def changeable_by(self, actor: Any) -> UserQuerySet:
        """The users for whom `accounts.rights.may_change` is true."""
        return self if actor.is_superuser else self.ordinary()

    def matching(self, text: str) -> UserQuerySet:
        """Users whose name, username or email address has each word of `text`, in any letter case."""
        users: UserQuerySet = search(self, text, condition=user_has, find=self.ids_matching)
        return users

    def ids_matching(self, word: str) -> Ids | None:
        """The ids of matching users, or None if there are too many. On SQLite, other users may be among them."""
        if connection.vendor != "sqlite":
            return ids_with(self, (has_word(name, word) for name in SEARCHED))
        name, email = search_form(word), normalize_email(word)
        if min(len(name), len(email)) < SHORTEST_INSIDE or not text_index.is_complete(self.db):
            return ids_with(self, [user_has(word)])
        expression = f"{{username name_folded}} : {phrase(name)} OR email : {phrase(email)}"
        found = text_index.find(self.db, expression, MAX_MATCHES + 1)
        return set(found) if len(found) <= MAX_MATCHES else None

    def with_login(self, login: str) -> UserQuerySet:
        """Users, deleted ones included, with this username or email address."""
        login = normalize_login(login)
        return self.filter(**{"email" if "@" in login else "username": login})

    def find_by_login(self, login: str) -> Any:
        return self.live().with_login(login).first()

    # --- Keys

    def with_keys(self) -> UserQuerySet:
        """Users who own a live key that isn't revoked."""
        return self.filter(self._has_keys())

    def without_keys(self) -> UserQuerySet:
        return self.filter(~self._has_keys())

    def _has_keys(self) -> models.Exists:
        keys = key_model()._default_manager.live().filter(user=models.OuterRef("pk"), revoked_at__isnull=True)
        return models.Exists(keys)

    def with_key_counts(self) -> UserQuerySet:
        """Annotate `key_count`: the number of live keys that aren't revoked."""
        is_counted = models.Q(api_keys__deleted_at__isnull=True, api_keys__revoked_at__isnull=True)
        users: UserQuerySet = self.annotate(key_count=models.Count("api_keys", filter=is_counted))
        return users

    def effective_keys(self) -> Any:
        return key_model()._default_manager.effective().filter(user__in=self.order_by().values("pk"))

    def usable_keys(self) -> Any:
        """The keys of these users that work whenever the user is live and active."""
        return key_model()._default_manager.usable().filter(user__in=self.order_by().values("pk"))

    # --- Email addresses

    def verified(self) -> UserQuerySet:
        return self.filter(self._has_verified_address())

    def unverified(self) -> UserQuerySet:
        return self.filter(~self._has_verified_address())

    def _has_verified_address(self) -> models.Exists:
        rows = self._addresses.filter(user=models.OuterRef("pk"), email=models.OuterRef("email"), verified=True)
        return models.Exists(rows)

    @property
    def _addresses(self) -> Any:
        # allauth's models import this one.
        model: Any = self.model._meta.get_field("emailaddress").related_model
        return model.objects

    # --- Writes

    def update(self, **values: Any) -> int:
        """Like Django's. Suspending users, or a new session epoch, also drops their pending email addresses.

        An attacker may have requested that change.
        """
        if values.get("is_active") is False:
            values.setdefault("session_epoch", models.F("session_epoch") + 1)
        if "session_epoch" in values:
            unverified = self._addresses.filter(user__in=self.order_by().values("pk"), verified=False)
            unverified.exclude(email=models.F("user__email")).delete()
        return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def deletion_values(self) -> dict[str, Any]:
        # A restored user doesn't get their old sessions and reset links back.
        return super().deletion_values() | {"session_epoch": models.F("session_epoch") + 1}


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    def get_by_natural_key(self, username: str | None) -> Any:
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
        """Create a user, on the default tier unless `tier` is given. For code and commands.

        Raises IntegrityError if a live user has the username or email address.
        """
        if "tier" not in fields and "tier_id" not in fields:
            fields["tier"] = Tier.objects.default()
        user = self.model(username=username, email=email, name=name or username, **fields)
        user.set_password(password)
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
            if verified:
                user.emailaddress_set.create(email=user.email, verified=True, primary=True)
        return user

    def create_superuser(self, username: str, email: str, password: str | None = None, **fields: Any) -> Any:
        return self.create_user(username, email, password, **{**fields, "is_staff": True, "is_superuser": True})
