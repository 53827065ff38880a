"""Rate limits: how many requests a tier may make to which part of the API, in which window."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse

from config.base_models import LIVE, SoftDeleteModel, SoftDeleteQuerySet, TimestampedModel, unique_among_live

LONGEST_PERIOD = 31 * 24 * 3600
LARGEST_LIMIT = 2**31 - 1


class RateLimitQuerySet(SoftDeleteQuerySet["RateLimit"]):
    def effective(self) -> RateLimitQuerySet:
        """The limits that apply now: live, on a live tier."""
        return self.filter(LIVE, tier__deleted_at__isnull=True)


class RateLimitManager(models.Manager.from_queryset(RateLimitQuerySet)):  # type: ignore[misc]
    def get_by_natural_key(self, name: str) -> RateLimit:
        limit: RateLimit = self.live().get(name=name)
        return limit


class RateLimit(TimestampedModel, SoftDeleteModel):
    class Window(models.TextChoices):
        ROLLING = "rolling", "Rolling"
        FIXED = "fixed", "Fixed"
        MONTH = "month", "Calendar month"

    class Mode(models.TextChoices):
        ENFORCE = "enforce", "Enforce"
        OBSERVE = "observe", "Observe only"

    class Method(models.TextChoices):
        GET = "GET"
        POST = "POST"
        PUT = "PUT"
        PATCH = "PATCH"
        DELETE = "DELETE"
        OPTIONS = "OPTIONS"

        __empty__ = "Any method"

    tier = models.ForeignKey("tiers.Tier", models.CASCADE, related_name="rate_limits")
    name = models.CharField(
        max_length=100,
        blank=True,
        help_text="Unique; callers see it in the RateLimit header. Left empty, one is made up.",
    )
    path = models.CharField(
        max_length=255,
        help_text="For example /orders, /orders/{id} or /orders/*. {name} stands for one segment, * for all below.",
    )
    method = models.CharField(
        max_length=10, blank=True, choices=Method, default="", db_default="", help_text="GET covers HEAD too."
    )
    limit = models.PositiveIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST_LIMIT)], help_text="Requests per period, 1 or more."
    )
    period = models.PositiveIntegerField(
        default=60,
        db_default=60,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_PERIOD)],
        help_text="Seconds, 1 to 2,678,400 (31 days). Not used by a calendar month.",
    )
    window = models.CharField(
        max_length=10,
        choices=Window,
        default=Window.ROLLING,
        db_default=Window.ROLLING,
        help_text="Rolling spreads requests evenly; fixed and calendar month count from the UTC clock, for quotas.",
    )
    mode = models.CharField(
        max_length=10,
        choices=Mode,
        default=Mode.ENFORCE,
        db_default=Mode.ENFORCE,
        help_text="Observe counts and reports, and never refuses.",
    )

    objects: ClassVar[RateLimitManager] = RateLimitManager()

    class Meta:
        db_table = "rate_limits"
        ordering = ("tier__name", "path", "method", "period")
        constraints = (
            unique_among_live(
                "name",
                name="rate_limits_live_name_unique",
                message="Another rate limit has this name. Choose another one.",
            ),
            unique_among_live(
                "tier",
                "method",
                "path",
                "window",
                "period",
                name="rate_limits_live_rule_unique",
                message="This tier has a limit for the same path, method, window and period already. Change that one.",
            ),
            models.CheckConstraint(
                condition=models.Q(limit__gte=1),
                name="rate_limits_limit_positive",
                violation_error_message="The limit must be 1 or more.",
            ),
            models.CheckConstraint(
                condition=models.Q(period__gte=1, period__lte=LONGEST_PERIOD),
                name="rate_limits_period_in_range",
                violation_error_message="The period must be 1 to 2,678,400 seconds (31 days).",
            ),
            models.CheckConstraint(
                condition=models.Q(window__in=["rolling", "fixed", "month"]),
                name="rate_limits_window_known",
                violation_error_message="The window must be rolling, fixed or month.",
            ),
            models.CheckConstraint(
                condition=models.Q(mode__in=["enforce", "observe"]),
                name="rate_limits_mode_known",
                violation_error_message="The mode must be enforce or observe.",
            ),
            models.CheckConstraint(
                condition=models.Q(path__startswith="/"),
                name="rate_limits_path_rooted",
                violation_error_message="The path must start with a slash.",
            ),
        )
        indexes = (models.Index(fields=("deleted_at",), name="rate_limits_deleted_at"),)

    def __str__(self) -> str:
        return self.name

    def natural_key(self) -> tuple[str]:
        return (self.name,)

    def get_absolute_url(self) -> str:
        return reverse("admin:ratelimits_ratelimit_change", args=[self.pk])

    def clean(self) -> None:
        super().clean()
        self._normalise()

    def save(self, **options: Any) -> None:
        self._normalise()
        super().save(**options)

    def _normalise(self) -> None:
        if not self.name:
            self.name = f"rate_limit_{secrets.token_hex(3)}"
        if self.window == self.Window.MONTH:
            # Not used, but part of the unique constraint: one monthly quota for each path.
            self.period = LONGEST_PERIOD
