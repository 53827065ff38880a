from __future__ import annotations

import datetime as dt
import secrets
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

from config.base.models import LIVE, SoftDeleteModel, SoftDeleteQuerySet, TimestampedModel, unique_among_live
from config.base.patterns import validate_pattern
from config.base.search import FoldedField
from config.base.validators import validate_name
from ratelimits.advice import never_wins
from ratelimits.budgets import Budget, rate_in_words, rule_key
from ratelimits.matching import normal_pattern, pattern_shape

MAX_PERIOD = 31 * 24 * 3600
MAX_LIMIT = 2**31 - 1
# For the page of users who were recently rate limited.
RECENT = dt.timedelta(minutes=5)


class RateLimitQuerySet(SoftDeleteQuerySet["RateLimit"]):
    def effective(self) -> RateLimitQuerySet:
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
        GET = "GET", "GET"
        POST = "POST", "POST"
        PUT = "PUT", "PUT"
        PATCH = "PATCH", "PATCH"
        DELETE = "DELETE", "DELETE"
        OPTIONS = "OPTIONS", "OPTIONS"

        __empty__ = "Any method"

    tier = models.ForeignKey("tiers.Tier", models.CASCADE, related_name="rate_limits")
    name = models.CharField(
        max_length=100,
        blank=True,
        validators=[validate_name],
        help_text="Clients see it in the RateLimit header. Leave empty to generate a name.",
    )
    name_folded = FoldedField("name")
    path = models.CharField(
        max_length=255,
        validators=[validate_pattern],
        help_text="For example /orders, /orders/{id} or /orders/*. {name} matches one segment, * everything below.",
    )
    method = models.CharField(
        max_length=10, blank=True, choices=Method, default="", db_default="", help_text="GET includes HEAD."
    )
    limit = models.PositiveIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LIMIT)], help_text="Requests per period."
    )
    period = models.PositiveIntegerField(
        default=60,
        db_default=60,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_PERIOD)],
        help_text="In seconds, up to 2,678,400 (31 days). A calendar month ignores it.",
    )
    window = models.CharField(
        max_length=10,
        choices=Window,
        default=Window.ROLLING,
        db_default=Window.ROLLING,
        help_text="Rolling spreads requests evenly. Fixed and calendar month are quotas that reset by the UTC clock.",
    )
    mode = models.CharField(
        max_length=10,
        choices=Mode,
        default=Mode.ENFORCE,
        db_default=Mode.ENFORCE,
        help_text="In observe mode, requests are counted and reported, but never denied.",
    )

    live_parents = ("tier",)

    objects: ClassVar[RateLimitManager] = RateLimitManager()

    class Meta:
        db_table = "rate_limits"
        ordering = ("tier__name", "path", "method", "period")
        constraints = (
            unique_among_live(
                "name",
                name="rate_limits_live_name_unique",
                message="Another rate limit has this name. Choose a different name.",
            ),
            unique_among_live(
                "tier",
                "method",
                "path",
                "window",
                "period",
                name="rate_limits_live_rule_unique",
                message="This tier already has a rate limit with this path, method, window and period. Edit that one instead.",
            ),
            models.CheckConstraint(
                condition=models.Q(limit__gte=1),
                name="rate_limits_limit_positive",
                violation_error_message="Enter a limit of 1 or more.",
            ),
            models.CheckConstraint(
                condition=models.Q(period__gte=1, period__lte=MAX_PERIOD),
                name="rate_limits_period_in_range",
                violation_error_message="Enter a period from 1 to 2,678,400 seconds (31 days).",
            ),
            models.CheckConstraint(
                condition=models.Q(window__in=["rolling", "fixed", "month"]),
                name="rate_limits_window_known",
                violation_error_message="Choose rolling, fixed or month.",
            ),
            models.CheckConstraint(
                condition=models.Q(mode__in=["enforce", "observe"]),
                name="rate_limits_mode_known",
                violation_error_message="Choose enforce or observe.",
            ),
            models.CheckConstraint(
                condition=models.Q(path__startswith="/"),
                name="rate_limits_path_rooted",
                violation_error_message="Start the path with a slash.",
            ),
        )
        indexes = (models.Index(fields=("deleted_at",), name="rate_limits_deleted_at"),)

    def __str__(self) -> str:
        return self.name

    def natural_key(self) -> tuple[str]:
        return (self.name,)

    def get_absolute_url(self) -> str:
        return reverse("admin:ratelimits_ratelimit_change", args=[self.pk])

    @property
    def in_words(self) -> str:
        return rate_in_words(self.limit, self.period, self.window)

    def budget(self, owner: str) -> Budget:
        observe = self.mode == self.Mode.OBSERVE
        return Budget(rule_key(owner, self.pk), self.limit, self.period, self.window, self.name, observe, self.pk)

    def clean(self) -> None:
        super().clean()
        self._normalise()
        if self.tier_id is not None and self.deleted_at is None and self._path_is_valid():
            self._check_same_pattern()
            self._check_never_winning()

    def siblings(self) -> RateLimitQuerySet:
        siblings: RateLimitQuerySet = type(self).objects.live().filter(tier_id=self.tier_id).exclude(pk=self.pk)
        return siblings

    def _path_is_valid(self) -> bool:
        try:
            validate_pattern(self.path)
        except ValidationError:
            return False
        return True

    def _check_same_pattern(self) -> None:
        shape = pattern_shape(self.path)
        same = self.siblings().filter(method=self.method, window=self.window, period=self.period)
        for path in same.exclude(path=self.path).values_list("path", flat=True):
            if pattern_shape(path) == shape:
                raise ValidationError(
                    {
                        "path": f"{self.path} matches the same requests as {path}, for which this tier already has a rate "
                        "limit with this method, window and period. Edit that one instead."
                    },
                    code="same_pattern",
                )

    def _check_never_winning(self) -> None:
        rules = list(self.siblings().values_list("method", "path"))
        winners = never_wins((self.method, self.path), rules)
        if winners:
            raise ValidationError(
                {
                    "path": "This rate limit would never apply, because more specific ones of this tier "
                    f"({', '.join(winners)}) match all of its requests."
                },
                code="never_wins",
            )

    def save(self, **options: Any) -> None:
        self._normalise()
        super().save(**options)

    def _normalise(self) -> None:
        if not self.name:
            self.name = f"rate_limit_{secrets.token_hex(3)}"
        self.path = normal_pattern(self.path)
        if self.window == self.Window.MONTH:
            # Unused, but part of the unique constraint: one monthly quota per path.
            self.period = MAX_PERIOD


class DenialQuerySet(models.QuerySet["Denial"]):
    def recent(self) -> DenialQuerySet:
        return self.filter(last_at__gte=timezone.now() - RECENT)


class Denial(models.Model):
    """How often a budget was exceeded; one row per budget, written about once a second by each worker."""

    key = models.CharField(max_length=200, unique=True)
    owner = models.CharField(max_length=64)
    rate_limit = models.ForeignKey(RateLimit, models.CASCADE, null=True, related_name="denials")
    name = models.CharField(max_length=100)
    limit = models.PositiveBigIntegerField()
    period = models.PositiveIntegerField()
    window = models.CharField(max_length=10)
    # In observe mode, the requests were allowed.
    observed = models.BooleanField(default=False, db_default=False)
    count = models.PositiveBigIntegerField("requests", default=0, db_default=0)
    first_at = models.DateTimeField("since")
    last_at = models.DateTimeField("last")

    objects = DenialQuerySet.as_manager()

    class Meta:
        db_table = "rate_limit_denials"
        ordering = ("-last_at",)
        indexes = (models.Index(fields=("-last_at",), name="rate_limit_denials_newest"),)

    def __str__(self) -> str:
        return f"{self.owner} at {self.name}"

    @property
    def budget(self) -> Budget:
        return Budget(self.key, self.limit, self.period, self.window, self.name, self.observed, self.rate_limit_id)

    @property
    def in_words(self) -> str:
        return rate_in_words(self.limit, self.period, self.window)


class Outage(models.Model):
    """A time when a worker couldn't reach the rate limit store, and how many requests it decided without it."""

    store = models.CharField(max_length=20)
    node = models.CharField("worker", max_length=100)
    error = models.CharField(max_length=500)
    began_at = models.DateTimeField("started")
    ended_at = models.DateTimeField("ended", null=True)
    allowed = models.PositiveBigIntegerField(default=0, db_default=0)
    denied = models.PositiveBigIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "rate_limit_outages"
        ordering = ("-began_at",)
        indexes = (models.Index(fields=("-began_at",), name="rate_limit_outages_newest"),)

    def __str__(self) -> str:
        return f"{self.store} unavailable to {self.node}"
