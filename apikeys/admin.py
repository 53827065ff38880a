"""The API keys and Usage sections of the admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.html import format_html

from apikeys.models import APIKey, KeyPermission, KeyUsage
from config.base_admin import ReadOnlyAdmin, badge, when
from config.base_admin_soft_delete import DELETE, SoftDeleteAdmin
from config.base_text import counted

FIRST_REFUSAL = 400
STATE_BADGES = {"active": "ok", "disabled": "warn", "expired": "muted", "revoked": "danger", "deleted": "danger"}


class KeyPermissionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = KeyPermission
    extra = 0
    fields = ("action", "resource")


@admin.register(APIKey)
class APIKeyAdmin(SoftDeleteAdmin):
    list_display = ("name", "user", "secret_column", "state_column", "expires", "last_used", "last_used_ip", "created")
    list_filter = (
        "is_active",
        ("revoked_at", admin.EmptyFieldListFilter),
        ("expires_at", admin.DateFieldListFilter),
        ("last_used_at", admin.DateFieldListFilter),
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username", "user__email")
    autocomplete_fields = ("user",)
    inlines = (KeyPermissionInline,)
    fields = (
        "name", "user", "secret_column", "is_active", "expires_at", "revoked_at", "revoked_reason", "rate_limit",
        "rate_period", "allowed_ips", "metadata", "last_used_at", "last_used_ip",
    )  # fmt: skip
    readonly_fields = ("user", "secret_column", "revoked_at", "revoked_reason", "last_used_at", "last_used_ip")
    csv_fields = (
        "id", "user", "name", "prefix", "last4", "is_active", "expires_at", "revoked_at", "revoked_reason",
        "last_used_at", "last_used_ip", "created_at", "deleted_at",
    )  # fmt: skip
    empty_advice = "A key lets a program use the API in the name of an account."
    created = when("created_at", "Created")
    expires = when("expires_at", "Expires")
    last_used = when("last_used_at", "Last used")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description="Secret", ordering="prefix")
    def secret_column(self, key: APIKey) -> str:
        return format_html('<span class="mono">{}…{}</span>', key.prefix, key.last4)

    @admin.display(description="State")
    def state_column(self, key: APIKey) -> str:
        return badge(STATE_BADGES[key.state], key.state)

    def consequences(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> list[str]:
        pks = [row.pk for row in rows]
        if verb == DELETE:
            working = APIKey.objects.filter(pk__in=pks).effective().count()
            return [
                f"{counted(working, 'key')} that {'works' if working == 1 else 'work'} now will be refused at once.",
                "Nothing is removed: usage stays, and you can restore the key.",
            ]
        return [
            "Keys that are neither revoked, disabled nor expired will be accepted again; revoked ones stay revoked."
        ]


class MethodFilter(admin.SimpleListFilter):
    """The methods that clients use; asking the table for its distinct ones would read all of it."""

    title = "method"
    parameter_name = "method"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(method=self.value()) if self.value() else queryset


class AnswerFilter(admin.SimpleListFilter):
    title = "answer"
    parameter_name = "answer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("allowed", "Allowed"), ("refused", "Refused")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in {"allowed", "refused"}:
            return queryset
        refused = Q(status_code__gte=FIRST_REFUSAL)
        return queryset.filter(refused if self.value() == "refused" else ~refused)


@admin.register(KeyUsage)
class KeyUsageAdmin(ReadOnlyAdmin):
    list_display = (
        "when_column", "key_column", "user", "method", "endpoint", "outcome", "reason", "response_time_ms", "ip_address",
    )  # fmt: skip
    list_filter = (("created_at", admin.DateFieldListFilter), AnswerFilter, MethodFilter)
    list_select_related = ("api_key", "user")
    ordering = ("-id",)
    sortable_by = ()
    empty_advice = "Each decision on a known key, allowed or refused, will be listed here."
    when_column = when("created_at", "When")

    @admin.display(description="Key")
    def key_column(self, event: KeyUsage) -> str:
        return event.api_key.name

    @admin.display(description="Answer")
    def outcome(self, event: KeyUsage) -> str:
        return badge("ok" if event.status_code < FIRST_REFUSAL else "danger", str(event.status_code))
