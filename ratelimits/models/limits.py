from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

from config.base.hosts import HostPatternField, host_matches
from config.base.models import LIVE, SoftDeleteModel, SoftDeleteQuerySet, TimestampedModel, unique_among_live
from config.base.patterns import validate_pattern
from config.base.periods import IN_RANGE, MAX_PERIOD, PeriodField
from config.base.search import FoldedField
from config.base.validators import validate_name
from ratelimits.advice import never_wins
from ratelimits.budgets import WEEK, Budget, rate_in_words, rule_key
from ratelimits.matching import normal_pattern, pattern_shape, requests_in_words

MAX_LIMIT = 2**31 - 1
# The most tokens or microcents: the largest number in header fields (RFC 9651, section 3.3.1).
MAX_AMOUNT = 10**15 - 1


# The period that is stored for windows that have their own.
PERIODS = {"week": WEEK, "month": MAX_PERIOD, "total": MAX_PERIOD}
# What two limits of one owner can't have in common.
RULE = ("host", "method", "path", "window", "period", "unit")
SAME_RULE = "a rate limit with this host, path, method, window, period and unit. Edit that one instead."


class RateLimitQuerySet(SoftDeleteQuerySet["RateLimit"]):
    def effective(self) -> RateLimitQuerySet:
        """Limits that are in force now."""
        has_ended = models.Q(ends_at__lte=timezone.now())
        return self.filter(LIVE, ~has_ended, tier__deleted_at__isnull=True, user__deleted_at__isnull=True)


class RateLimitManager(models.Manager.from_queryset(RateLimitQuerySet)):  # type: ignore[misc]
    def get_by_natural_key(self, name: str) -> RateLimit:
        limit: RateLimit = self.live().get(name=name)
        return limit


class RateLimit(TimestampedModel, SoftDeleteModel):
    class Window(models.TextChoices):
        ROLLING = "rolling", "Rolling"
        FIXED = "fixed", "Fixed"
        WEEK = "week", "Week"
        MONTH = "month", "Month"
        TOTAL = "total", "Total"

    class Mode(models.TextChoices):
        ENFORCE = "enforce", "Enforce"
        OBSERVE = "observe", "Observe only"

    class Unit(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        MICROCENTS = "microcents", "Microcents"

    class Method(models.TextChoices):
        GET = "GET", "GET"
        POST = "POST", "POST"
        PUT = "PUT", "PUT"
        PATCH = "PATCH", "PATCH"
        DELETE = "DELETE", "DELETE"
        OPTIONS = "OPTIONS", "OPTIONS"

        __empty__ = "Any method"

    tier = models.ForeignKey("tiers.Tier", models.CASCADE, null=True, blank=True, related_name="rate_limits")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="rate_limits",
        help_text="Choose a user instead of a tier to make an exception. It replaces the tier's rate limits on the same "
        "pattern.",
    )
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
        help_text="For example /orders, /orders/{id} or /orders/*. {name} matches one segment, and * everything below.",
    )
    method = models.CharField(
        max_length=10, blank=True, choices=Method, default="", db_default="", help_text="GET includes HEAD."
    )
    host = HostPatternField()
    limit = models.PositiveBigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(MAX_AMOUNT)],
        help_text="Per period, in requests or the chosen unit.",
    )
    unit = models.CharField(
        max_length=10,
        choices=Unit,
        default=Unit.REQUESTS,
        db_default=Unit.REQUESTS,
        help_text="Your API reports tokens and microcents after each request.",
    )
    period = PeriodField(default=60, db_default=60, help_text="Up to 31 days. Only for rolling and fixed windows.")
    window = models.CharField(
        max_length=10,
        choices=Window,
        default=Window.ROLLING,
        db_default=Window.ROLLING,
        help_text="Rolling spreads requests evenly. Fixed windows and weeks (from Monday) reset by the UTC clock, months on "
        "the user's billing day. A total never resets.",
    )
    overall = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Count every request that matches the path, in addition to the most specific rate limits.",
    )
    mode = models.CharField(
        max_length=10,
        choices=Mode,
        default=Mode.ENFORCE,
        db_default=Mode.ENFORCE,
        help_text="In observe mode, requests are counted and reported, but never denied.",
    )

    ends_at = models.DateTimeField(
        "ends", null=True, blank=True, help_text="Only for a user's own rate limit. Leave empty for no end."
    )

    live_parents = ("tier", "user")
    # The owner's other limits, where a form changes several at once; None: those in the database.
    beside: Collection[RateLimit] | None = None

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
                *RULE,
                name="rate_limits_live_rule_unique",
                message=f"This tier already has {SAME_RULE}",
            ),
            unique_among_live(
                "user",
                *RULE,
                name="rate_limits_live_own_rule_unique",
                message=f"This user already has {SAME_RULE}",
            ),
            models.CheckConstraint(
                condition=models.Q(tier__isnull=False, user__isnull=True)
                | models.Q(tier__isnull=True, user__isnull=False),
                name="rate_limits_one_owner",
                violation_error_message="Choose either a tier or a user.",
            ),
            models.CheckConstraint(
                condition=models.Q(user__isnull=False) | (models.Q(ends_at__isnull=True) & ~models.Q(window="total")),
                name="rate_limits_own_only",
                violation_error_message="Only a user's own rate limit can end or be a total.",
            ),
            models.CheckConstraint(
                condition=models.Q(limit__gte=1),
                name="rate_limits_limit_positive",
                violation_error_message="Enter a limit of 1 or more.",
            ),
            models.CheckConstraint(
                condition=models.Q(period__gte=1, period__lte=MAX_PERIOD),
                name="rate_limits_period_in_range",
                violation_error_message=IN_RANGE,
            ),
            models.CheckConstraint(
                condition=models.Q(window__in=["rolling", "fixed", "week", "month", "total"]),
                name="rate_limits_window_known",
                violation_error_message="Choose rolling, fixed, week, month or total.",
            ),
            models.CheckConstraint(
                condition=models.Q(unit__in=["requests", "tokens", "microcents"]),
                name="rate_limits_unit_known",
                violation_error_message="Choose requests, tokens or microcents.",
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
        return rate_in_words(self.limit, self.period, self.window, self.unit)

    @property
    def is_enforced(self) -> bool:
        return self.mode == self.Mode.ENFORCE

    @property
    def max_limit(self) -> int:
        return MAX_LIMIT if self.unit == self.Unit.REQUESTS else MAX_AMOUNT

    @property
    def requests(self) -> str:
        return requests_in_words(self.method, self.path, self.host)

    @property
    def summary(self) -> str:
        """“GET /orders on api.example.com, 100 per minute”."""
        return f"{self.requests}, {self.in_words}"

    @property
    def matches_everything(self) -> bool:
        """Whether each request meets this limit or a more specific one, so the default never applies."""
        return self.path == "/*" and not (self.method or self.host or self.overall)

    @property
    def owner_noun(self) -> str:
        return "tier" if self.user_id is None else "user"

    @property
    def rule(self) -> tuple[Any, ...]:
        return pattern_shape(self.path), *(getattr(self, name) for name in RULE if name != "path")

    @property
    def pattern(self) -> tuple[str, str, str, bool]:
        """What a user's own limit replaces the tier's on."""
        return self.host, self.method, pattern_shape(self.path), self.overall

    def budget(self, owner: str, billing_day: int = 1) -> Budget:
        rate = (rule_key(owner, self.pk), self.limit, self.period, self.window, self.name)
        return Budget(*rate, not self.is_enforced, self.pk, self.unit, billing_day)

    def clean(self) -> None:
        super().clean()
        self._normalise()
        errors = {**self._owner_errors(), **self._unit_errors(), **self._end_errors()}
        if errors:
            raise ValidationError(errors)
        if self.deleted_at is None and self._path_is_valid():
            self.check_neighbours()

    def check_neighbours(self) -> None:
        """Raises ValidationError if another limit is the same rule, or if others keep this one from ever applying."""
        self._check_same_pattern()
        if not self.overall:
            self._check_never_winning()

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Always includes the unit, which makes a rule unique and which a form may leave out."""
        super().validate_constraints(exclude=set(exclude or ()) - {"unit"})

    def siblings(self) -> RateLimitQuerySet:
        """The other live limits of the same tier or user."""
        owner: dict[str, Any] = {"tier_id": self.tier_id, "user_id": self.user_id}
        siblings: RateLimitQuerySet = type(self).objects.live().filter(**owner).exclude(pk=self.pk)
        return siblings

    def rivals(self) -> list[tuple[str, str]]:
        """Method and path of the neighbours that apply to this limit's host, too."""
        # No sibling names this host, but wildcards match it.
        host = self.host.replace("*", "\x00")
        return [
            (limit.method, limit.path)
            for limit in self.neighbours()
            if not limit.overall and host_matches(limit.host, host)
        ]

    def neighbours(self) -> Collection[RateLimit]:
        return self.siblings() if self.beside is None else self.beside

    def _owner_errors(self) -> dict[str, str]:
        # A new tier, saved together with its limits, has no id yet.
        of_tier = self.tier_id is not None or self.tier is not None
        if not of_tier and self.user_id is None:
            return {"tier": "Choose a tier or a user."}
        if of_tier and self.user_id is not None:
            return {"user": "Choose a tier or a user, not both."}
        if of_tier and self.window == self.Window.TOTAL:
            return {"window": "A total is only for a user's own rate limit. Choose another window."}
        if of_tier and self.ends_at is not None:
            return {"ends_at": "Only a user's own rate limit can end. Clear this date."}
        return {}

    def _unit_errors(self) -> dict[str, str]:
        if self.unit != self.Unit.REQUESTS:
            if self.window == self.Window.ROLLING:
                return {"window": "Choose a fixed window, a week, a month or a total for tokens and microcents."}
        elif self.limit is not None and self.limit > MAX_LIMIT:
            return {"limit": f"Enter a limit of {MAX_LIMIT:,} or less."}
        return {}

    def _end_errors(self) -> dict[str, str]:
        if self.ends_at is None or self.ends_at > timezone.now():
            return {}
        if type(self).objects.filter(pk=self.pk, ends_at=self.ends_at).exists():
            return {}
        return {"ends_at": "Enter a time in the future. To end this rate limit now, delete it."}

    def _path_is_valid(self) -> bool:
        try:
            validate_pattern(self.path)
        except ValidationError:
            return False
        return True

    def _check_same_pattern(self) -> None:
        for other in self.neighbours():
            if other.rule != self.rule:
                continue
            if other.path != self.path:
                raise ValidationError(
                    {
                        "path": f"{self.path} matches the same requests as {other.path}, for which this {self.owner_noun} already "
                        "has a rate limit with this method, window and period. Edit that one instead."
                    },
                    code="same_pattern",
                )
            if self.beside is not None:  # or else the database has a constraint
                raise ValidationError({"path": f"This {self.owner_noun} already has {SAME_RULE}"}, code="same_rule")

    def _check_never_winning(self) -> None:
        winners = never_wins((self.method, self.path), self.rivals())
        if winners:
            raise ValidationError(
                {
                    "path": f"This rate limit would never apply, because more specific ones of this {self.owner_noun} "
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
        self.unit = self.unit or self.Unit.REQUESTS
        # Unused, but part of the unique constraint: one monthly quota per path.
        self.period = PERIODS.get(self.window, self.period)
