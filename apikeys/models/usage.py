"""The usage ledger: one row for each decision about a known key."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from apikeys.models.keys import APIKey
from config.base.hosts import MAX_HOST_LENGTH
from config.base.models import TimestampedModel, TimestampedQuerySet, UUIDModel
from config.base.text import duration
from ratelimits.budgets import dollars
from ratelimits.matching import MAX_METHOD_LENGTH

# Why a request with a known key was denied.
REASONS = {
    "revoked_key": "Key revoked",
    "disabled_key": "Key disabled",
    "expired_key": "Key expired",
    "owner_inactive": "Owner not active",
    "address_not_allowed": "Address not allowed",
    "ambiguous_path": "Ambiguous path",
    "permission_denied": "No permission",
    "tier_denied": "Not allowed on this tier",
    "rate_limited": "Rate limited",
}


DENIED = ~models.Q(reason="")


def verdict_in_words(reason: str) -> str:
    return REASONS.get(reason, reason) if reason else "Allowed"


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
    # The rate limit that denied the request, as it was then: name, rate (in words) and retry_after (in seconds).
    denied_by = models.JSONField(null=True, blank=True, editable=False)
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
            # For the request log, of denied requests only: allowed ones, most of all, add nothing to them.
            models.Index(fields=("reason", "created_at"), condition=DENIED, name="key_usage_by_reason"),
            models.Index(fields=("created_at",), condition=DENIED, name="key_usage_denied"),
            models.Index(fields=("user", "created_at"), condition=DENIED, name="key_usage_denied_by_user"),
            models.Index(fields=("api_key", "created_at"), condition=DENIED, name="key_usage_denied_by_key"),
        )

    def __str__(self) -> str:
        return f"{self.method} {self.endpoint} → {self.status_code}"

    @property
    def is_allowed(self) -> bool:
        return not self.reason

    @property
    def reason_in_words(self) -> str:
        return verdict_in_words(self.reason)

    @property
    def limit_in_words(self) -> str:
        """“free-4: 5 per minute used up, retry after 3 seconds”; empty if no rate limit denied the request."""
        if not self.denied_by:
            return ""
        return "{name}: {rate} used up, retry after {wait}".format(
            **self.denied_by, wait=duration(self.denied_by["retry_after"])
        )

    @property
    def has_outcome(self) -> bool:
        """Whether a service reported what became of the request."""
        figures = (self.reported_at, self.tokens_used, self.cost_microcents, self.response_time_ms)
        return any(figure is not None for figure in figures) or bool(self.error_message)

    @property
    def cost_in_dollars(self) -> str:
        """Empty without a reported cost."""
        return "" if self.cost_microcents is None else dollars(self.cost_microcents)

    @property
    def metadata_items(self) -> list[tuple[str, str]]:
        items = self.metadata.items() if isinstance(self.metadata, dict) else [("", self.metadata)]
        return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in items]
