"""The ledger in the admin: each decision on a known key, to look at."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import admin

from apikeys.models import KeyUsage
from config.base_admin import ReadOnlyAdmin, badge, when


@admin.register(KeyUsage)
class KeyUsageAdmin(ReadOnlyAdmin):
    list_display = (
        "when_column", "key_column", "user", "method", "endpoint", "outcome", "reason", "response_time_ms", "ip_address",
    )  # fmt: skip
    list_filter = (("created_at", admin.DateFieldListFilter), "method", ("reason", admin.EmptyFieldListFilter))
    list_select_related = ("api_key", "user")
    ordering = ("-id",)
    sortable_by: Sequence[str] = ()
    empty_advice = "Each decision on a known key, allowed or refused, will be listed here."
    when_column = when("created_at", "When")

    @admin.display(description="Key")
    def key_column(self, event: KeyUsage) -> str:
        return event.api_key.name

    @admin.display(description="Answer")
    def outcome(self, event: KeyUsage) -> str:
        return badge("ok" if event.status_code < 400 else "danger", str(event.status_code))  # noqa: PLR2004  (HTTP)
