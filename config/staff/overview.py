"""The first staff page. Everything on it is bounded, and shown only to users who may view its section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import models
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import User
from apikeys.models import APIKey
from apikeys.pages import hygiene
from config.base.paginator import bounded_count
from config.staff.attention import attention
from config.staff.first_steps import first_steps
from config.staff.traffic import PERIODS, chart, top_lists, traffic
from ratelimits.models import RateLimit
from tiers.models import Tier

MAX_LISTED = 8


def overview(request: HttpRequest) -> dict[str, Any]:
    user: Any = request.user
    period = PERIODS.get(request.GET.get("period", ""), PERIODS["24h"])
    found = traffic(period) if user.has_perm("apikeys.view_keyusage") else None
    context: dict[str, Any] = {
        "stats": list(stats(user)),
        "steps": first_steps(user),
        "attention": attention(user, found),
    }
    if user.has_perm("apikeys.view_apikey"):
        context["expiring"] = expiring_keys()
    if user.has_perm("admin.view_logentry"):
        context["recent_changes"] = LogEntry.objects.select_related("user", "content_type")[:MAX_LISTED]
    if found is not None:
        context |= {
            "period": period,
            "periods": PERIODS.values(),
            "trends": found.trends(),
            "chart": chart(found),
            "top_lists": top_lists(found),
        }
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
