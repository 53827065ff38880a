"""Tiers: the plans that users are on. A tier has rate limits, an access list and a key policy, but no price."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.urls import reverse

from config.base.access import EVERYTHING, AccessRule, in_words, known_action
from config.base.models import SoftDeleteModel, SoftDeleteQuerySet, TimestampedModel, unique_among_live
from config.base.search import FoldedField
from config.base.text import counted
from config.base.validators import validate_name, validate_text

MAX_KEYS = 100_000
# 100 years, the farthest expiry of a key.
MAX_KEY_DAYS = 36_500


# Why a tier can't be deleted or renamed, by the setting that names it.
USES = {
    "DEFAULT_TIER_NAME": "New users get the tier “{}”",
    "ANONYMOUS_TIER": "Requests without a key use the tier “{}”",
}


class TierInUse(ValidationError):
    """The tier can't be deleted because live users or live rate limits refer to it."""


class TierQuerySet(SoftDeleteQuerySet["Tier"]):
    def in_use(self) -> TierQuerySet:
        return self.with_use_counts().filter(models.Q(user_count__gt=0) | models.Q(limit_count__gt=0))

    def with_use_counts(self) -> TierQuerySet:
        return self.annotate(user_count=self._live_count("users"), limit_count=self._live_count("rate_limits"))

    def default(self) -> Tier | None:
        """The tier that new users get: the live one called DEFAULT_TIER_NAME, if there is one."""
        return self.live().filter(name=settings.DEFAULT_TIER_NAME).first()

    def delete(self) -> tuple[int, dict[str, int]]:
        """Raises TierInUse, and deletes nothing, if one of the tiers is in use."""
        with transaction.atomic(using=self.db):
            self._raise_if_in_use()
            return super().delete()

    def hard_delete(self) -> tuple[int, dict[str, int]]:
        with transaction.atomic(using=self.db):
            self._raise_if_in_use()
            return super().hard_delete()

    delete.alters_data = delete.queryset_only = True  # type: ignore[attr-defined]
    hard_delete.alters_data = hard_delete.queryset_only = True  # type: ignore[attr-defined]

    def refuse_default(self) -> None:
        """Raise ValidationError if a setting names one of these tiers: without it, new users would have no tier."""
        for setting, use in USES.items():
            tier = self.live().filter(name=getattr(settings, setting)).first()
            if tier is not None:
                raise ValidationError(
                    f"{use.format(tier)}, so it can't be deleted. Set {setting} to another tier and restart Gatehouse first.",
                    code="default_tier",
                )

    def _raise_if_in_use(self) -> None:
        # The lock makes a concurrent assignment of one of these tiers wait: see `config.base.models.lock_live`.
        locked = self.model._default_manager.select_for_update().filter(pk__in=list(self.values_list("pk", flat=True)))
        pks = [tier.pk for tier in locked.order_by("pk")]
        tier = self.model._default_manager.filter(pk__in=pks).in_use().first()
        if tier is not None:
            raise TierInUse(
                f"The tier “{tier}” can't be deleted because {counted(tier.user_count, 'user')} and "
                f"{counted(tier.limit_count, 'rate limit')} use it. Move the users to another tier and delete the rate "
                f"limits first.",
                code="tier_in_use",
            )

    def _live_count(self, relation: str) -> models.functions.Coalesce:
        # A subquery for each relation: two joins would multiply their rows.
        tier = self.model._default_manager.filter(pk=models.OuterRef("pk"), **{f"{relation}__deleted_at": None})
        counts = tier.order_by().values("pk").annotate(total=models.Count(relation)).values("total")
        return models.functions.Coalesce(models.Subquery(counts, output_field=models.IntegerField()), 0)


class TierManager(models.Manager.from_queryset(TierQuerySet)):  # type: ignore[misc]
    def get_by_natural_key(self, name: str) -> Tier:
        tier: Tier = self.live().get(name=name)
        return tier


class Tier(TimestampedModel, SoftDeleteModel):
    name = models.CharField(
        max_length=50,
        validators=[validate_name],
        help_text="Staff and users see this name, for example “pro”.",
    )
    name_folded = FoldedField("name")
    description = models.TextField(
        blank=True,
        max_length=500,
        validators=[MaxLengthValidator(500), validate_text],
        help_text="What this tier includes, in a sentence or two. Users see it.",
    )
    description_folded = FoldedField("description")
    max_keys = models.PositiveIntegerField(
        "keys per user",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_KEYS)],
        help_text="Counts keys that aren't revoked or expired. Users who have more keep them, but can't create another. "
        "Leave empty for no maximum.",
    )
    max_key_days = models.PositiveIntegerField(
        "days until a key expires",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_KEY_DAYS)],
        help_text="New keys must expire within this many days. Leave empty for no maximum.",
    )

    objects: ClassVar[TierManager] = TierManager()

    class Meta:
        db_table = "tiers"
        ordering = ("name",)
        constraints = (
            unique_among_live(
                "name",
                name="tiers_live_name_unique",
                message="Another tier has this name. Choose a different name.",
            ),
            models.CheckConstraint(
                condition=~models.Q(name=""),
                name="tiers_name_not_empty",
                violation_error_message="Enter a name.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **options: Any) -> None:
        is_new = self._state.adding
        with transaction.atomic():
            super().save(*args, **options)
            if is_new:
                TierAccess.objects.create(tier=self, **EVERYTHING._asdict())

    def clean(self) -> None:
        super().clean()
        for setting, use in USES.items():
            name = getattr(settings, setting)
            if self.name != name and type(self).objects.live().filter(pk=self.pk, name=name).exists():
                raise ValidationError(
                    {
                        "name": f"{use.format(name)}, so it can't be renamed. Set {setting} to another tier and restart "
                        f"Gatehouse first."
                    },
                    code="default_tier",
                )

    def natural_key(self) -> tuple[str]:
        return (self.name,)

    @property
    def access_in_words(self) -> str:
        return in_words(rule.permission for rule in self.access.all())

    def get_absolute_url(self) -> str:
        return reverse("admin:tiers_tier_change", args=[self.pk])


class TierAccess(AccessRule):
    """An action that keys of a tier's users may take on a resource, if their own permissions allow it too.

    A new tier starts with everything. Without a row, keys of its users can't do anything.
    """

    # The unique constraint has the index.
    tier = models.ForeignKey(Tier, models.CASCADE, related_name="access", db_index=False)

    class Meta:
        db_table = "tier_access"
        verbose_name = "access rule"
        ordering = ("host", "resource", "action")
        constraints = (
            models.UniqueConstraint(
                fields=("tier", "host", "resource", "action"),
                name="tier_access_unique",
                violation_error_message="The tier already has this access rule.",
            ),
            known_action("tier_access_action_known"),
        )
