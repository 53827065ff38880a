"""Search in all sections the user may view, with a few results each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import User
from apikeys.models import APIKey
from ratelimits.models import RateLimit
from tiers.models import Tier

MAX_QUERY_LENGTH = 200
MAX_FOUND = 6


def search(site: AdminSite, request: HttpRequest, query: str) -> list[dict[str, Any]]:
    """For each section: label, up to MAX_FOUND live rows, whether there are more, and the URL of the full list."""
    return list(groups(site, request, query)) if query else []


def groups(site: AdminSite, request: HttpRequest, query: str) -> Iterator[dict[str, Any]]:
    for model in (User, APIKey, Tier, RateLimit):
        section: Any = site.get_model_admin(model)
        if section.has_view_permission(request):
            live = section.get_queryset(request).live().select_related(*(section.list_select_related or ()))
            found, _ = section.get_search_results(request, live, query)
            rows = list(found[: MAX_FOUND + 1])
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
            full_list = reverse("users:list" if model is User else name)
            yield {
                "label": str(model._meta.verbose_name_plural),
                "rows": [(row, about(row)) for row in rows[:MAX_FOUND]],
                "has_more": len(rows) > MAX_FOUND,
                "url": f"{full_list}?{urlencode({'q': query})}",
            }


def about(row: Any) -> str:
    if isinstance(row, User):
        return f"{row.name} · {row.email}"
    if isinstance(row, APIKey):
        return f"{row.prefix}…{row.last4} · {row.user} · {row.state}"
    if isinstance(row, RateLimit):
        return f"{row.method or 'any method'} {row.path} · {row.tier or row.user}"
    return str(row.description)
