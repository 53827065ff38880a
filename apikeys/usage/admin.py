from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.html import format_html

from apikeys.models import KeyUsage
from config.base.admin import ReadOnlyAdmin, amount, when
from config.base.templatetags import badge

FIRST_ERROR = 400
# Fields that are shown as formatted numbers, by these attributes.
AMOUNTS = {"tokens_used": "tokens", "cost_microcents": "cost", "response_time_ms": "time"}


class MethodFilter(admin.SimpleListFilter):
    """A fixed list, because selecting the distinct ones would read the whole table."""

    title = "method"
    parameter_name = "method"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(method=self.value()) if self.value() else queryset


class VerdictFilter(admin.SimpleListFilter):
    title = "verdict"
    parameter_name = "answer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("allowed", "Allowed"), ("refused", "Denied")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in {"allowed", "refused"}:
            return queryset
        allowed = Q(reason="")
        return queryset.filter(allowed if self.value() == "allowed" else ~allowed)


@admin.register(KeyUsage)
class KeyUsageAdmin(ReadOnlyAdmin):
    list_display = (
        "when_column", "key_column", "request_column", "outcome", "time_column", "ip_address"
    )  # fmt: skip
    list_filter = (("created_at", admin.DateFieldListFilter), VerdictFilter, MethodFilter)
    allowed_lookups = ("api_key__id__exact", "user__id__exact", "endpoint__exact")
    list_select_related = ("api_key", "user")
    ordering = ("-id",)
    sortable_by = ()
    empty_advice = "Decisions about requests with a known key will appear here."
    when_column = when("created_at", "When")
    tokens = amount("tokens_used", "Tokens")
    cost = amount("cost_microcents", "Cost in microcents")
    time = amount("response_time_ms", "Response time in ms")
    readonly_fields = tuple(AMOUNTS.values())

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        names = [name for name in super().get_fields(request, obj) if name not in self.readonly_fields]
        return [AMOUNTS.get(str(name), name) for name in names]

    @admin.display(description="Key")
    def key_column(self, event: KeyUsage) -> str:
        return format_html('{}<span class="sub">{}</span>', event.api_key.name, event.user or "–")

    @admin.display(description="Request")
    def request_column(self, event: KeyUsage) -> str:
        return format_html('<span class="mono">{}</span>', f"{event.method} {event.endpoint}")

    @admin.display(description="Time")
    def time_column(self, event: KeyUsage) -> str:
        return "–" if event.response_time_ms is None else f"{event.response_time_ms:,} ms"

    @admin.display(description="Status")
    def outcome(self, event: KeyUsage) -> str:
        status = badge(str(event.status_code), "ok" if event.status_code < FIRST_ERROR else "danger")
        return format_html('{}<span class="sub mono">{}</span>', status, event.reason) if event.reason else status
