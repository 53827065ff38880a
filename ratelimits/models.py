"""Rate limits: how many requests a tier may make to which part of the API, in which window."""

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
from config.base.search import FoldedField
from config.base.validators import validate_name
from ratelimits.advice import never_wins
from ratelimits.budgets import Budget, rate_in_words, rule_key
from ratelimits.matching import normal_pattern, pattern_shape, validate_pattern

LONGEST_PERIOD = 31 * 24 * 3600
LARGEST_LIMIT = 2**31 - 1
# What “right now” means on the page of those who are being limited.
NOW_MEANS = dt.timedelta(minutes=5)


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
        validators=[validate_name],
        help_text="Unique; callers see it in the RateLimit header. Left empty, one is made up.",
    )
    name_folded = FoldedField("name")
    path = models.CharField(
        max_length=255,
        validators=[validate_pattern],
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

    live_parents = ("tier",)

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

    @property
    def in_words(self) -> str:
        """“100 per minute”, “10,000 per UTC day”."""
        return rate_in_words(self.limit, self.period, self.window)

    def budget(self, owner: str) -> Budget:
        """The budget of one owner under this limit."""
        observe = self.mode == self.Mode.OBSERVE
        return Budget(rule_key(owner, self.pk), self.limit, self.period, self.window, self.name, observe, self.pk)

    def clean(self) -> None:
        super().clean()
        self._normalise()
        if self.tier_id is not None and self.deleted_at is None and self._path_is_valid():
            self._refuse_same_pattern()
            self._refuse_never_winning()

    def siblings(self) -> RateLimitQuerySet:
        """The other live limits of the same tier."""
        siblings: RateLimitQuerySet = type(self).objects.live().filter(tier_id=self.tier_id).exclude(pk=self.pk)
        return siblings

    def _path_is_valid(self) -> bool:
        try:
            validate_pattern(self.path)
        except ValidationError:
            return False
        return True

    def _refuse_same_pattern(self) -> None:
        shape = pattern_shape(self.path)
        same = self.siblings().filter(method=self.method, window=self.window, period=self.period)
        for path in same.exclude(path=self.path).values_list("path", flat=True):
            if pattern_shape(path) == shape:
                raise ValidationError(
                    {
                        "path": f"{self.path} matches the same requests as {path}, for which this tier has a limit with the "
                        "same method, window and period already. Change that one."
                    },
                    code="same_pattern",
                )

    def _refuse_never_winning(self) -> None:
        rules = list(self.siblings().values_list("method", "path"))
        winners = never_wins((self.method, self.path), rules)
        if winners:
            raise ValidationError(
                {
                    "path": "This limit would never apply: every request that it matches goes to a more specific limit "
                    f"of this tier ({', '.join(winners)})."
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
            # Not used, but part of the unique constraint: one monthly quota for each path.
            self.period = LONGEST_PERIOD


class RefusalQuerySet(models.QuerySet["Refusal"]):
    def recent(self) -> RefusalQuerySet:
        """Those of the last minutes: who is being limited right now."""
        return self.filter(last_at__gte=timezone.now() - NOW_MEANS)


class Refusal(models.Model):
    """A budget that had no room lately: one row a budget, counted up. Written at most every second or so by each worker."""

    key = models.CharField(max_length=200, unique=True)
    owner = models.CharField(max_length=64)
    rate_limit = models.ForeignKey(RateLimit, models.CASCADE, null=True, related_name="refusals")
    name = models.CharField(max_length=100)
    limit = models.PositiveBigIntegerField()
    period = models.PositiveIntegerField()
    window = models.CharField(max_length=10)
    # The limit only observes: the requests were let through.
    observed = models.BooleanField(default=False, db_default=False)
    count = models.PositiveBigIntegerField("requests", default=0, db_default=0)
    first_at = models.DateTimeField("since")
    last_at = models.DateTimeField("last")

    objects = RefusalQuerySet.as_manager()

    class Meta:
        db_table = "rate_limit_refusals"
        ordering = ("-last_at",)
        indexes = (models.Index(fields=("-last_at",), name="rate_limit_refusals_newest"),)

    def __str__(self) -> str:
        return f"{self.owner} at {self.name}"

    @property
    def budget(self) -> Budget:
        return Budget(self.key, self.limit, self.period, self.window, self.name, self.observed, self.rate_limit_id)

    @property
    def in_words(self) -> str:
        return rate_in_words(self.limit, self.period, self.window)


class Outage(models.Model):
    """A time during which a worker could not reach the store of the counters, and what it did with the requests."""

    store = models.CharField(max_length=20)
    node = models.CharField("worker", max_length=100)
    error = models.CharField(max_length=500)
    began_at = models.DateTimeField("began")
    ended_at = models.DateTimeField("ended", null=True)
    let_through = models.PositiveBigIntegerField("let through", default=0, db_default=0)
    refused = models.PositiveBigIntegerField("refused", default=0, db_default=0)

    class Meta:
        db_table = "rate_limit_outages"
        ordering = ("-began_at",)
        indexes = (models.Index(fields=("-began_at",), name="rate_limit_outages_newest"),)

    def __str__(self) -> str:
        return f"{self.store} away from {self.node}"
