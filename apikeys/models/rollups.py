"""The ledger's sums by hour, written by apikeys/usage/rollups.py and read by apikeys/usage/analytics.py.

Database triggers (migration 0003) add a `TouchedHour` for each hour, older than a few minutes, in which events were
added, changed or removed. Such an hour is read from the ledger until it's folded again, so totals always equal the ledger.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from config.base.hosts import MAX_HOST_LENGTH
from ratelimits.matching import MAX_METHOD_LENGTH


class Figures(models.Model):
    """Sums over events. `errors`: allowed, and answered with 4xx or 5xx."""

    hour = models.DateTimeField()
    reason = models.CharField(max_length=32, blank=True)
    requests = models.BigIntegerField()
    denied = models.BigIntegerField()
    errors = models.BigIntegerField()
    # Only events with a reported response time.
    ms_total = models.BigIntegerField()
    ms_count = models.BigIntegerField()
    ms_max = models.BigIntegerField()
    tokens = models.BigIntegerField()
    cost = models.BigIntegerField()

    class Meta:
        abstract = True


class KeyFigures(Figures):
    """The database doesn't check the foreign keys, so that a key can be purged while its usage is folded."""

    api_key = models.ForeignKey("apikeys.APIKey", models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )

    class Meta(Figures.Meta):
        abstract = True


class UsageHour(KeyFigures):
    class Meta:
        db_table = "key_usage_hours"
        constraints = (
            models.UniqueConstraint(fields=("hour", "api_key", "user", "reason"), name="key_usage_hours_unique"),
        )
        indexes = (
            models.Index(fields=("api_key", "hour"), name="key_usage_hours_key"),
            models.Index(fields=("user", "hour"), name="key_usage_hours_user"),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h: {self.requests}"


class EndpointHour(KeyFigures):
    """Also by endpoint and host. In a separate table, because clients choose both: it can grow like the ledger."""

    method = models.CharField(max_length=MAX_METHOD_LENGTH)
    endpoint = models.CharField(max_length=255)
    # Null in an hour that a release without this column folded: its hosts are in the ledger.
    host = models.CharField(max_length=MAX_HOST_LENGTH, null=True)

    class Meta:
        db_table = "key_usage_endpoint_hours"
        constraints = (
            models.UniqueConstraint(
                fields=("hour", "api_key", "user", "reason", "method", "endpoint", "host"),
                name="key_usage_endpoint_hours_one_row",
            ),
        )
        indexes = (
            models.Index(fields=("api_key", "hour"), name="key_usage_endpoint_key"),
            models.Index(fields=("user", "hour"), name="key_usage_endpoint_user"),
            models.Index(fields=("endpoint", "hour"), name="key_usage_endpoint_path"),
            models.Index(fields=("hour",), condition=models.Q(host__isnull=True), name="key_usage_endpoint_no_host"),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.method} {self.endpoint}: {self.requests}"


class LimitHour(Figures):
    """By the rate limit that decided, for all users together: few rows, for overall totals."""

    rate_limit = models.ForeignKey(
        "ratelimits.RateLimit", models.DO_NOTHING, null=True, related_name="+", db_index=False, db_constraint=False
    )

    class Meta:
        db_table = "key_usage_limit_hours"
        indexes = (models.Index(fields=("hour",), name="key_usage_limit_hours_hour"),)

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h: {self.requests}"


class KeyDay(models.Model):
    """The folded hours of a day, by key: to find the busiest of some weeks."""

    day = models.DateField()
    api_key = models.ForeignKey("apikeys.APIKey", models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    requests = models.BigIntegerField()
    denied = models.BigIntegerField()

    class Meta:
        db_table = "key_usage_days"
        constraints = (models.UniqueConstraint(fields=("day", "api_key", "user"), name="key_usage_days_unique"),)
        indexes = (
            models.Index(fields=("api_key",), name="key_usage_days_key"),
            models.Index(fields=("user",), name="key_usage_days_user"),
        )

    def __str__(self) -> str:
        return f"{self.day}: {self.requests}"


class TouchedHour(models.Model):
    """Events of this hour changed. Rows are never updated, so writers don't wait for each other."""

    hour = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "key_usage_touched_hours"

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h"


class FoldState(models.Model):
    """One row. Whole hours, end not included."""

    folded_before = models.DateTimeField(null=True)
    pruned_before = models.DateTimeField(null=True)

    class Meta:
        db_table = "key_usage_fold_state"

    def __str__(self) -> str:
        return f"folded before {self.folded_before}, pruned before {self.pruned_before}"
