"""API keys, their states, and their permissions."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinLengthValidator, MinValueValidator
from django.db import connection, models
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.managers import SEARCHED
from accounts.models import User
from apikeys.secrets import candidate_hashes, is_well_formed
from apikeys.validators import normalize_metadata, normalize_name, normalize_networks
from config.base.access import AccessRule, known_action
from config.base.matching import Ids, any_of, has_word, ids_with, search, starts_with
from config.base.models import DELETED, LIVE, SoftDeleteModel, SoftDeleteQuerySet, TimestampedModel, UUIDModel
from config.base.periods import MAX_PERIOD, PeriodField
from config.base.search import FoldedField
from config.base.validators import validate_name
from ratelimits.budgets import rate_in_words
from ratelimits.models import MAX_LIMIT, PERIODS, RateLimit

# A key's own limit can't be prepaid.
KEY_WINDOWS = [choice for choice in RateLimit.Window.choices if choice[0] != RateLimit.Window.TOTAL]


class KeyState(models.TextChoices):
    """What a key's row and its owner say about it; of several, the first listed here is its state."""

    REVOKED = "revoked", "Revoked"
    DELETED = "deleted", "Deleted"
    EXPIRED = "expired", "Expired"
    DISABLED = "disabled", "Disabled"
    OWNER_DELETED = "owner deleted", "Owner deleted"
    OWNER_SUSPENDED = "owner suspended", "Owner suspended"
    ACTIVE = "active", "Active"

    @property
    def actions(self) -> frozenset[str]:
        """What you can do with a key in this state, by the names of the pages that do it."""
        if self is KeyState.REVOKED:
            return frozenset()
        if self in {KeyState.DELETED, KeyState.EXPIRED}:
            return frozenset({"revoke"})
        return frozenset({"edit", "rotate", "expire", "enable" if self is KeyState.DISABLED else "disable", "revoke"})

    @property
    def condition(self) -> models.Q:
        """What must hold for this to be the state, unless an earlier one is."""
        return {
            KeyState.REVOKED: models.Q(revoked_at__isnull=False),
            KeyState.DELETED: models.Q(deleted_at__isnull=False),
            KeyState.EXPIRED: models.Q(expires_at__lte=timezone.now()),
            KeyState.DISABLED: models.Q(is_active=False),
            KeyState.OWNER_DELETED: models.Q(user__deleted_at__isnull=False),
            KeyState.OWNER_SUSPENDED: models.Q(user__is_active=False),
        }.get(self, models.Q())

    @property
    def earlier(self) -> list[KeyState]:
        return list(KeyState)[: list(KeyState).index(self)]


LAST = 4  # characters of a secret that are kept


def own_conditions(word: str) -> list[models.Q]:
    in_name = has_word("name_folded", word)
    if connection.vendor == "sqlite":
        # True for every name: so SQLite takes the index of names, and doesn't read the whole table for them.
        in_name &= models.Q(name_folded__gte="")
    conditions = [in_name, starts_with("prefix", word)]
    return [*conditions, models.Q(last4=word)] if len(word) == LAST else conditions


def key_has(word: str) -> models.Q:
    owner = [has_word(f"user__{name}", word) for name in SEARCHED]
    return any_of([*own_conditions(word), *owner])


class APIKeyQuerySet(SoftDeleteQuerySet["APIKey"]):
    def in_state(self, state: KeyState) -> APIKeyQuerySet:
        return self.without(*state.earlier).filter(state.condition)

    def without(self, *states: KeyState) -> APIKeyQuerySet:
        return self.filter(*(~state.condition for state in states))

    def effective(self) -> APIKeyQuerySet:
        """The keys that are accepted now."""
        return self.in_state(KeyState.ACTIVE)

    def unrevoked(self) -> APIKeyQuerySet:
        return self.without(KeyState.REVOKED)

    def usable(self) -> APIKeyQuerySet:
        """The keys that are accepted while their owner is active."""
        return self.without(*KeyState.OWNER_DELETED.earlier)

    def in_use(self) -> APIKeyQuerySet:
        """The keys that are accepted, or can be again: neither revoked, deleted nor expired."""
        return self.without(*KeyState.DISABLED.earlier)

    def ended(self) -> APIKeyQuerySet:
        """The keys that were revoked or have expired, without those that were deleted."""
        return self.live().filter(KeyState.REVOKED.condition | KeyState.EXPIRED.condition)

    @sensitive_variables()
    def with_secret(self, secret: str) -> APIKeyQuerySet:
        """The key with this current or previous secret. A malformed one doesn't reach the database."""
        if not is_well_formed(secret):
            return self.none()
        hashes = list(candidate_hashes(secret))
        return self.filter(models.Q(secret_hash__in=hashes) | models.Q(previous_hash__in=hashes))

    def matching(self, text: str) -> APIKeyQuerySet:
        """The keys that each word of `text` matches: in the name, the owner, the start of the secret or its last four.

        “gate_Ab3dE1…9xYz” is a key as lists show it.
        """
        start, dots, end = text.strip().partition("…")
        if dots:
            return self.filter(prefix=start, last4=end)
        keys: APIKeyQuerySet = search(self, text, condition=key_has, find=self.ids_matching)
        return keys

    def ids_matching(self, word: str) -> Ids | None:
        """None if there are too many."""
        owners = User.objects.ids_matching(word)
        if owners is None:
            return None
        return ids_with(self, [*own_conditions(word), models.Q(user__any_of=list(owners))])

    def revoke(self, reason: str = "") -> int:
        """Revoke those that aren't revoked yet; returns how many. A revoked key keeps its first reason."""
        return self.unrevoked().update(revoked_at=timezone.now(), revoked_reason=reason)


class APIKey(UUIDModel, TimestampedModel, SoftDeleteModel):
    """A key's settings and hashes. The secret itself is shown once, when it's created, and not stored."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_keys")
    name = models.CharField(
        max_length=100,
        validators=[MinLengthValidator(1), validate_name],
        help_text="What the key is for, for example “nightly export”.",
    )
    name_folded = FoldedField("name")
    prefix = models.CharField(max_length=40, editable=False, db_index=True)
    last4 = models.CharField("last four", max_length=4, editable=False)
    # HMAC-SHA-256 in hex, and the pepper used for it (apikeys/secrets).
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    pepper_id = models.CharField(max_length=16, editable=False)
    # The secret before the last rotation, valid until previous_expires_at.
    previous_hash = models.CharField(max_length=64, unique=True, null=True, editable=False)
    previous_expires_at = models.DateTimeField(null=True, editable=False)
    previous_last_used_at = models.DateTimeField(null=True, editable=False)
    # Only of the current secret, while `last_used_at` is of both. A rotation moves it to `previous_last_used_at`.
    secret_last_used_at = models.DateTimeField(null=True, editable=False)
    is_active = models.BooleanField(
        "enabled", default=True, db_default=True, help_text="Requests with a disabled key are denied."
    )
    expires_at = models.DateTimeField(
        "expires", null=True, blank=True, help_text="Leave empty for a key that never expires."
    )
    revoked_at = models.DateTimeField("revoked", null=True, blank=True, editable=False)
    revoked_reason = models.CharField(
        "reason", max_length=255, blank=True, db_default="", editable=False, validators=[validate_name]
    )
    rate_limit = models.PositiveIntegerField(
        "rate limit",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LIMIT)],
        help_text="Requests per period, in addition to the owner's rate limits. Leave empty for none.",
    )
    rate_period = PeriodField("period", null=True, blank=True, help_text="Up to 31 days.")
    rate_window = models.CharField(
        "window",
        max_length=10,
        choices=KEY_WINDOWS,
        default=RateLimit.Window.ROLLING,
        db_default=RateLimit.Window.ROLLING,
        help_text="Rolling windows spread requests evenly. The others reset by the UTC clock. Weeks and months ignore the "
        "period.",
    )
    allowed_ips = models.JSONField(
        "allowed addresses",
        default=list,
        blank=True,
        help_text="IPv4 or IPv6 addresses or networks. Leave empty for any address.",
    )
    last_used_at = models.DateTimeField("last used", null=True, editable=False)
    last_used_ip = models.GenericIPAddressField("last used by", null=True, editable=False)
    metadata = models.JSONField(default=dict, blank=True, help_text="Your notes, as a JSON object.")

    objects: ClassVar[Any] = APIKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        ordering = ("-created_at", "-pk")
        # Stopping a key is less than changing it: no new secret is seen, no permission added.
        permissions = (("stop_apikey", "Can disable, enable and revoke API key"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(rate_limit__isnull=True, rate_period__isnull=True)
                | models.Q(rate_limit__gte=1, rate_period__gte=1, rate_period__lte=MAX_PERIOD),
                name="api_keys_own_limit_complete",
                violation_error_message="Enter both a rate limit and its period, or neither.",
            ),
            models.CheckConstraint(
                condition=models.Q(rate_window__in=["rolling", "fixed", "week", "month"]),
                name="api_keys_rate_window_known",
                violation_error_message="Choose rolling, fixed, week or month.",
            ),
            models.CheckConstraint(
                condition=~models.Q(name=""),
                name="api_keys_name_not_empty",
                violation_error_message="Enter a name.",
            ),
        )
        indexes = (
            models.Index(fields=("user", "is_active"), name="api_keys_user_active"),
            models.Index(fields=("expires_at",), name="api_keys_expires_at"),
            models.Index(fields=("deleted_at",), condition=DELETED, name="api_keys_deleted"),
            models.Index(fields=("-created_at", "-id"), name="api_keys_newest"),
            models.Index(fields=("last4",), name="api_keys_last4"),
            # SQLite reads all names to search them: from here it takes half as long as from the table.
            models.Index(fields=("name_folded", "id"), condition=LIVE, name="api_keys_live_names"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.shown_as})"

    def get_absolute_url(self) -> str:
        return reverse("admin:apikeys_apikey_change", args=[self.pk])

    def _fields_of_a_full_save(self) -> set[str]:
        # An instance loaded before a revocation must not undo it.
        fields = super()._fields_of_a_full_save()
        return fields if self.revoked_at is not None else fields - {"revoked_at", "revoked_reason"}

    def clean(self) -> None:
        super().clean()
        self.rate_window = self.rate_window or RateLimit.Window.ROLLING
        if self.rate_limit is not None:
            self.rate_period = PERIODS.get(self.rate_window, self.rate_period)
        errors: dict[str, list[ValidationError]] = {}
        for field, rule in (
            ("name", normalize_name),
            ("allowed_ips", normalize_networks),
            ("metadata", normalize_metadata),
        ):
            try:
                setattr(self, field, rule(getattr(self, field)))
            except ValidationError as error:
                errors[field] = error.error_list
        if (self.rate_limit is None) != (self.rate_period is None):
            missing = "rate_limit" if self.rate_limit is None else "rate_period"
            errors[missing] = [ValidationError("Enter both a rate limit and its period, or neither.")]
        if errors:
            raise ValidationError(errors)

    @property
    def shown_as(self) -> str:
        """The start and end of the secret: enough to tell keys apart."""
        return f"{self.prefix}…{self.last4}"

    @property
    def limit_in_words(self) -> str:
        """“5,000 per month”; empty without a rate limit of the key's own."""
        if self.rate_limit is None or self.rate_period is None:
            return ""
        return rate_in_words(self.rate_limit, self.rate_period, self.rate_window)

    @property
    def previous_works(self) -> bool:
        """Whether the grace period of the secret before the last rotation isn't over."""
        return self.previous_expires_at is not None and self.previous_expires_at > timezone.now()

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def state(self) -> KeyState:
        """The same as `APIKeyQuerySet.in_state`. Reads the owner."""
        holds = {
            KeyState.REVOKED: self.revoked_at is not None,
            KeyState.DELETED: self.deleted_at is not None,
            KeyState.EXPIRED: self.is_expired,
            KeyState.DISABLED: not self.is_active,
            KeyState.OWNER_DELETED: self.user.deleted_at is not None,
            KeyState.OWNER_SUSPENDED: not self.user.is_active,
            KeyState.ACTIVE: True,
        }
        return next(state for state in KeyState if holds[state])

    @property
    def actions(self) -> frozenset[str]:
        return self.state.actions

    @property
    def states(self) -> list[str]:
        """The badges of the key."""
        return [self.state, "disabled"] if self.state == KeyState.EXPIRED and not self.is_active else [self.state]


class KeyPermission(AccessRule):
    """An action that a key may take on a resource. Without a row, it may do nothing."""

    api_key = models.ForeignKey(APIKey, models.CASCADE, related_name="permissions", verbose_name="API key")

    class Meta:
        db_table = "key_permissions"
        verbose_name = "permission"
        ordering = ("host", "resource", "action")
        constraints = (
            models.UniqueConstraint(
                fields=("api_key", "host", "resource", "action"),
                name="key_permissions_unique",
                violation_error_message="The key already has this permission.",
            ),
            known_action("key_permissions_action_known"),
        )
        indexes = (models.Index(fields=("resource", "action"), name="key_permissions_resource"),)


class ExpiryNotice(models.Model):
    """The owner was told this many days ahead that the key expires."""

    api_key = models.ForeignKey(APIKey, models.CASCADE, related_name="expiry_notices")
    days = models.PositiveSmallIntegerField()
    claimed_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "key_expiry_notices"
        constraints = (models.UniqueConstraint(fields=("api_key", "days"), name="key_expiry_notices_once"),)

    def __str__(self) -> str:
        return f"{self.api_key}: {self.days} days"
