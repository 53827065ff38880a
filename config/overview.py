"""The first staff page: how much there is, what needs somebody soon, what was changed, what was asked and refused.

Everything on it is bounded, and shown only to those who may see it in its own section.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import models
from django.db.models.functions import TruncHour
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, KeyUsage
from config.base_charts import Figure
from config.base_paginator import bounded_count
from config.base_templatetags import first_place
from ratelimits.models import RateLimit
from tiers.models import Tier

SOON = timedelta(days=30)
MOST_LISTED = 8
FIRST_REFUSAL = 400


def overview(request: HttpRequest) -> dict[str, Any]:
    """The context of templates/admin/index.html for the person who asks."""
    user: Any = request.user
    context: dict[str, Any] = {"stats": list(stats(user))}
    if user.has_perm("apikeys.view_apikey"):
        context["expiring"] = expiring_keys()
    if user.has_perm("admin.view_logentry"):
        context["recent_changes"] = LogEntry.objects.select_related("user", "content_type")[:MOST_LISTED]
    if user.has_perm("apikeys.view_keyusage"):
        context["figures"] = requests_by_hour()
    return context


def stats(user: Any) -> Iterator[dict[str, Any]]:
    """One figure for each section that the person may view, with the first step where there is nothing yet."""
    for model, label, queryset, url in sections():
        if user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"):
            count, capped = bounded_count(queryset)
            yield {"label": label, "url": url, "value": f"{count:,}{'+' if capped else ''}", "is_empty": count == 0}


def sections() -> Iterator[tuple[type[models.Model], str, Any, str]]:
    yield User, "accounts", User.objects.live(), first_place("/users/", "admin:accounts_user_changelist")
    yield APIKey, "keys that work", APIKey.objects.effective(), reverse("admin:apikeys_apikey_changelist")
    yield Tier, "tiers", Tier.objects.live(), reverse("admin:tiers_tier_changelist")
    yield RateLimit, "rate limits", RateLimit.objects.live(), reverse("admin:ratelimits_ratelimit_changelist")


def expiring_keys() -> Any:
    """The keys that work now and expire within 30 days, the next first."""
    soon = APIKey.objects.effective().filter(expires_at__lte=timezone.now() + SOON)
    return soon.select_related("user").order_by("expires_at")[:MOST_LISTED]


def requests_by_hour() -> list[Figure]:
    """(hour, allowed, refused) for the last 24 hours, the hours without a request included; empty if there was none."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=back) for back in range(23, -1, -1)]
    refused = models.Count("pk", filter=models.Q(status_code__gte=FIRST_REFUSAL))
    counted = (
        KeyUsage.objects.filter(created_at__gte=hours[0])
        .order_by()
        .annotate(hour=TruncHour("created_at"))
        .values("hour")
        .annotate(total=models.Count("pk"), refused=refused)
    )
    by_hour = {row["hour"]: (row["total"] - row["refused"], row["refused"]) for row in counted}
    return [(f"{hour:%H:%M}", *by_hour.get(hour, (0, 0))) for hour in hours] if by_hour else []
