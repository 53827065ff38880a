"""The first staff page. Everything on it is bounded, and shown only to users who may view its section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey
from apikeys.pages import hygiene
from apikeys.usage.analytics import Scope, Sums, TimeRange, sums_by
from apikeys.usage.rollups import HOUR, floor_to_hour
from config.base.charts import Figure
from config.base.paginator import bounded_count
from ratelimits.models import RateLimit
from tiers.models import Tier

MAX_LISTED = 8


def overview(request: HttpRequest) -> dict[str, Any]:
    user: Any = request.user
    context: dict[str, Any] = {"stats": list(stats(user))}
    if user.has_perm("apikeys.view_apikey"):
        context["expiring"] = expiring_keys()
    if user.has_perm("admin.view_logentry"):
        context["recent_changes"] = LogEntry.objects.select_related("user", "content_type")[:MAX_LISTED]
    if user.has_perm("apikeys.view_keyusage"):
        context["figures"] = requests_by_hour()
    return context


def stats(user: Any) -> Iterator[dict[str, Any]]:
    for model, label, queryset, url in sections():
        if user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"):
            count, capped = bounded_count(queryset)
            yield {"label": label, "url": url, "value": f"{count:,}{'+' if capped else ''}", "is_empty": count == 0}


def sections() -> Iterator[tuple[type[models.Model], str, Any, str]]:
    yield User, "users", User.objects.live(), reverse("users:list")
    yield APIKey, "active keys", APIKey.objects.effective(), reverse("admin:apikeys_apikey_changelist")
    yield Tier, "tiers", Tier.objects.live(), reverse("admin:tiers_tier_changelist")
    yield RateLimit, "rate limits", RateLimit.objects.live(), reverse("admin:ratelimits_ratelimit_changelist")


def expiring_keys() -> Any:
    return hygiene.expiring().select_related("user").order_by("expires_at")[:MAX_LISTED]


def requests_by_hour() -> list[Figure]:
    """(hour, allowed, denied) for the last 24 hours; empty if there were no requests."""
    end = floor_to_hour(timezone.now()) + HOUR
    time_range = TimeRange(end - 24 * HOUR, end)
    sums = {hour: found for (hour,), found in sums_by(("hour",), Scope(), time_range)}
    by_hour = ((hour, sums.get(hour, Sums())) for hour in time_range.hours)
    return [(f"{hour:%H:%M}", found.allowed, found.refused) for hour, found in by_hour] if sums else []
