"""The Rate limits section of the staff pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from config.base_admin import badge, when
from config.base_admin_soft_delete import DELETE, SoftDeleteAdmin
from ratelimits.models import RateLimit


@admin.register(RateLimit)
class RateLimitAdmin(SoftDeleteAdmin):
    list_display = (
        "name",
        "tier",
        "method_column",
        "path_column",
        "limit",
        "period",
        "window",
        "mode_column",
        "updated",
    )
    list_filter = (
        "tier",
        "mode",
        "window",
        ("method", admin.AllValuesFieldListFilter),
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("tier",)
    search_fields = ("name", "path")
    autocomplete_fields = ("tier",)
    fields = ("tier", "path", "method", "limit", "period", "window", "mode", "name")
    empty_advice = "A rate limit says how many requests an account of a tier may make to a path in a period."
    updated = when("updated_at", "Changed")

    @admin.display(description="Method", ordering="method")
    def method_column(self, limit: RateLimit) -> str:
        return limit.method or "any"

    @admin.display(description="Path", ordering="path")
    def path_column(self, limit: RateLimit) -> str:
        return limit.path

    @admin.display(description="Mode", ordering="mode")
    def mode_column(self, limit: RateLimit) -> str:
        enforced = limit.mode == RateLimit.Mode.ENFORCE
        return badge("ok" if enforced else "warn", "enforced" if enforced else "observed only")

    def consequences(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> list[str]:
        if verb != DELETE:
            return ["It applies again within 5 seconds."]
        return [
            "Within 5 seconds requests are no longer held to it; the next best limit of the tier applies, or the default.",
            "Nothing is removed: you can restore it at any time.",
        ]
