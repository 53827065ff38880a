"""What is recorded of limits: denials, outages of the store, and balances of tokens and cost."""

from __future__ import annotations

import datetime as dt

from django.db import models
from django.utils import timezone

from ratelimits.budgets import Budget, rate_in_words
from ratelimits.models.limits import RateLimit

# For the page of users who were recently rate limited.
RECENT = dt.timedelta(minutes=5)


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
    unit = models.CharField(max_length=10, default="requests", db_default="requests")
    billing_day = models.PositiveSmallIntegerField(default=1, db_default=1)
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
        rate = (self.key, self.limit, self.period, self.window, self.name)
        return Budget(*rate, self.observed, self.rate_limit_id, self.unit, self.billing_day)

    @property
    def in_words(self) -> str:
        return rate_in_words(self.limit, self.period, self.window, self.unit)


class Balance(models.Model):
    """What was used of a limit in tokens or microcents (ratelimits/stores/balances.py); one row per budget.

    `at` and `span` are the end and the length of the window, in microseconds, as in the counters of requests.
    """

    key = models.CharField(max_length=200, primary_key=True)
    at = models.BigIntegerField(default=0, db_default=0, db_index=True)
    span = models.BigIntegerField(default=0, db_default=0)
    used = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "rate_limit_balances"

    def __str__(self) -> str:
        return f"{self.key}: {self.used}"


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
