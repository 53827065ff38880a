"""The usage ledger: one row for each decision about a known key."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from apikeys.models.keys import APIKey
from config.base.hosts import MAX_HOST_LENGTH
from config.base.models import TimestampedModel, TimestampedQuerySet, UUIDModel
from ratelimits.matching import MAX_METHOD_LENGTH


class KeyUsage(UUIDModel, TimestampedModel):
    """A decision on a known key, and what services reported about it. The id is the event id."""

    # A constraint in the database would lock the key's and the owner's row for every request, and make each insert a third
    # slower. Purging a key or a user removes its events anyway, through Django.
    api_key = models.ForeignKey(
        APIKey, models.CASCADE, related_name="usage", db_index=False, db_constraint=False, verbose_name="API key"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="usage", db_index=False, db_constraint=False
    )
    # Keeps its number when the rate limit is purged: the ledger is not rewritten.
    rate_limit = models.ForeignKey(
        "ratelimits.RateLimit",
        models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    host = models.CharField(max_length=MAX_HOST_LENGTH, blank=True, default="", db_default="")
    endpoint = models.CharField(max_length=255)
    method = models.CharField(max_length=MAX_METHOD_LENGTH)
    status_code = models.PositiveSmallIntegerField("status")
    reason = models.CharField(max_length=32, blank=True, db_default="")
    tokens_used = models.BigIntegerField("tokens", null=True, blank=True)
    cost_microcents = models.BigIntegerField("cost in microcents", null=True, blank=True)
    response_time_ms = models.IntegerField("response time in ms", null=True, blank=True)
    ip_address = models.GenericIPAddressField("address", null=True, blank=True)
    user_agent = models.TextField(blank=True, db_default="")
    error_message = models.TextField(blank=True, db_default="")
    metadata = models.JSONField(null=True, blank=True)
    # The first report counts (apikeys/gateway/usage_report.py).
    reported_at = models.DateTimeField("reported", null=True, blank=True, editable=False)

    objects: ClassVar[Any] = TimestampedQuerySet.as_manager()

    class Meta:
        db_table = "key_usage"
        verbose_name = "usage event"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status_code__gte=100, status_code__lte=599), name="key_usage_status_code_in_range"
            ),
            models.CheckConstraint(
                condition=(models.Q(tokens_used__isnull=True) | models.Q(tokens_used__gte=0))
                & (models.Q(cost_microcents__isnull=True) | models.Q(cost_microcents__gte=0))
                & (models.Q(response_time_ms__isnull=True) | models.Q(response_time_ms__gte=0)),
                name="key_usage_figures_not_negative",
            ),
        )
        # Ascending, although pages show the newest first: databases read an index in either direction, and adding a row
        # at its end is cheap, while adding it at the start splits pages.
        indexes = (
            models.Index(fields=("api_key", "created_at"), name="key_usage_by_key"),
            models.Index(fields=("user", "created_at"), name="key_usage_by_user"),
            models.Index(fields=("created_at",), name="key_usage_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.method} {self.endpoint} → {self.status_code}"
