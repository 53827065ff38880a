"""Tiers: the plans that accounts are on. A tier carries rate limits; it says nothing about prices."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import models, transaction
from django.urls import reverse

from config.base.models import LIVE, SoftDeleteModel, SoftDeleteQuerySet, TimestampedModel, unique_among_live
from config.base.search import FoldedField
from config.base.text import counted
from config.base.validators import validate_name, validate_text


class TierInUse(ValidationError):
    """Raised instead of deleting a tier that live users or live limits refer to; the message says how many."""


class TierQuerySet(SoftDeleteQuerySet["Tier"]):
    def in_use(self) -> TierQuerySet:
        """The tiers that live users or live limits refer to."""
        return self.filter(models.Exists(self._live_rows("users")) | models.Exists(self._live_rows("rate_limits")))

    def with_use_counts(self) -> TierQuerySet:
        """Annotate `user_count` and `limit_count`: the live users and the live limits of each tier."""
        return self.annotate(user_count=self._live_count("users"), limit_count=self._live_count("rate_limits"))

    def default(self) -> Tier | None:
        """The tier that new accounts get: the live one called DEFAULT_TIER_NAME, if there is one."""
        return self.live().filter(name=settings.DEFAULT_TIER_NAME).first()

    def delete(self) -> tuple[int, dict[str, int]]:
        """As `SoftDeleteQuerySet.delete()`; raises TierInUse, and deletes nothing, if one of the tiers is in use."""
        with transaction.atomic(using=self.db):
            self._refuse_if_in_use()
            return super().delete()

    def hard_delete(self) -> tuple[int, dict[str, int]]:
        """As `SoftDeleteQuerySet.hard_delete()`; raises TierInUse if one of the tiers is in use."""
        with transaction.atomic(using=self.db):
            self._refuse_if_in_use()
            return super().hard_delete()

    delete.alters_data = delete.queryset_only = True  # type: ignore[attr-defined]
    hard_delete.alters_data = hard_delete.queryset_only = True  # type: ignore[attr-defined]

    def refuse_default(self) -> None:
        """Raise ValidationError if the default tier is among these: without it, new accounts would be on no tier."""
        tier = self.live().filter(name=settings.DEFAULT_TIER_NAME).first()
        if tier is not None:
            raise ValidationError(
                f"“{tier}” is the default tier, which new users are put on. To delete it, set DEFAULT_TIER_NAME to "
                f"another tier and restart Gatehouse.",
                code="default_tier",
            )

    def _refuse_if_in_use(self) -> None:
        # The lock makes a concurrent assignment of one of these tiers wait, which holds it: see `config.base.models.hold`.
        locked = self.model._default_manager.select_for_update().filter(pk__in=list(self.values_list("pk", flat=True)))
        pks = [tier.pk for tier in locked.order_by("pk")]
        tier = self.model._default_manager.filter(pk__in=pks).in_use().with_use_counts().first()
        if tier is not None:
            raise TierInUse(
                f"The tier “{tier}” cannot be deleted: {counted(tier.user_count, 'account')} and "
                f"{counted(tier.limit_count, 'rate limit')} use it. Move the accounts to another tier and delete the "
                f"limits first.",
                code="tier_in_use",
            )

    def _live_rows(self, relation: str) -> models.QuerySet[Any]:
        # Reverse relations are looked up by name: tiers stand below the apps that refer to them.
        related: Any = self.model._meta.get_field(relation).related_model
        rows: models.QuerySet[Any] = related._default_manager.filter(LIVE, tier=models.OuterRef("pk"))
        return rows

    def _live_count(self, relation: str) -> models.functions.Coalesce:
        counts = self._live_rows(relation).order_by().values("tier").annotate(total=models.Count("pk")).values("total")
        return models.functions.Coalesce(models.Subquery(counts, output_field=models.IntegerField()), 0)


class TierManager(models.Manager.from_queryset(TierQuerySet)):  # type: ignore[misc]
    def get_by_natural_key(self, name: str) -> Tier:
        tier: Tier = self.live().get(name=name)
        return tier


class Tier(TimestampedModel, SoftDeleteModel):
    name = models.CharField(
        max_length=50,
        validators=[validate_name],
        help_text="How staff and account holders call this tier, for example “pro”.",
    )
    name_folded = FoldedField("name")
    description = models.TextField(
        blank=True,
        max_length=500,
        validators=[MaxLengthValidator(500), validate_text],
        help_text="What an account on this tier gets, in a sentence or two. Account holders see it.",
    )
    description_folded = FoldedField("description")

    objects: ClassVar[TierManager] = TierManager()

    class Meta:
        db_table = "tiers"
        ordering = ("name",)
        constraints = (
            unique_among_live(
                "name",
                name="tiers_live_name_unique",
                message="A tier with this name exists already. Choose another name.",
            ),
            models.CheckConstraint(
                condition=~models.Q(name=""),
                name="tiers_name_not_empty",
                violation_error_message="A tier needs a name.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse to rename the default tier: new users would be on none."""
        super().clean()
        default = settings.DEFAULT_TIER_NAME
        if self.name != default and type(self).objects.live().filter(pk=self.pk, name=default).exists():
            raise ValidationError(
                {
                    "name": f"“{default}” is the default tier, which new users are put on. To rename it, set "
                    f"DEFAULT_TIER_NAME to another tier and restart Gatehouse."
                },
                code="default_tier",
            )

    def natural_key(self) -> tuple[str]:
        return (self.name,)

    def get_absolute_url(self) -> str:
        return reverse("admin:tiers_tier_change", args=[self.pk])
