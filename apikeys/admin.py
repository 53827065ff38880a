"""The API keys section of the admin: the list and the page of a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.html import format_html
from django.views.decorators.debug import sensitive_variables

from apikeys import services
from apikeys.models import APIKey, KeyState
from apikeys.pages.actions import Disable, Enable, OwnerGuard, PutBackKey, Revoke
from apikeys.pages.rows import EXPORTED, key_rows, last_used
from apikeys.pages.staff_views import StaffCreateView, StaffKeyView
from config.base.actions import Action
from config.base.admin import when
from config.base.admin_soft_delete import Delete, Restore, SoftDeleteAdmin
from config.base.changelist import GatehouseChangeList
from config.base.templatetags import badge
from config.base.text import counted
from config.base.views import reject_bad_values


class KeyStateFilter(admin.SimpleListFilter):
    title = "key state"
    parameter_name = "key_state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        # Deleted keys have a filter of their own.
        return [choice for choice in reversed(KeyState.choices) if choice[0] != KeyState.DELETED]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        state = self.value() or ""
        return queryset.in_state(KeyState(state)) if state in KeyState else queryset


class KeyChangeList(GatehouseChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        for row in key_rows(self.result_list):
            row.key.month_use = row.use  # type: ignore[attr-defined]


class DeleteKey(OwnerGuard, Delete):
    sentences = ("Usage is kept.", *Delete.sentences)

    def effects(self, rows: Any) -> Sequence[str]:
        active = counted(rows.effective().count(), "active key")
        return [f"{active} will stop working immediately.", *self.sentences]


class RestoreKey(OwnerGuard, Restore):
    sentences = ("Keys work again unless they are revoked, disabled or expired.",)

    def change(self, rows: Any) -> None:
        services.restore_keys(rows.deleted().order_by("created_at", "pk"))


@admin.register(APIKey)
class APIKeyAdmin(SoftDeleteAdmin):
    list_display = ("key", "user", "state_column", "last_use", "use", "expires")
    list_filter = (
        KeyStateFilter,
        ("expires_at", admin.EmptyFieldListFilter),
        ("last_used_at", admin.DateFieldListFilter),
        ("created_at", admin.DateFieldListFilter),
    )
    allowed_lookups = ("user__id__exact",)
    list_select_related = ("user",)
    search_fields = (
        "name_folded__has", "prefix__startswith", "last4__exact", "user__username__has", "user__email__has"
    )  # fmt: skip
    search_help_text = "By name, owner, start of the secret or its last four characters."
    row_actions = (Disable(), Revoke(), DeleteKey(), RestoreKey())
    change_list_template = "admin/apikeys/apikey/change_list.html"
    export_fields = EXPORTED
    empty_advice = "A key lets a program use the API as its owner."
    extra_columns = ("created", "last_ip")
    expires = when("expires_at", "Expires")
    created = when("created_at", "Created")

    @property
    def undo_actions(self) -> Sequence[Action]:
        return (*self.row_actions, Enable(), PutBackKey())

    # --- The list ---

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[GatehouseChangeList]:
        return KeyChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return queryset.matching(search_term), False

    @admin.display(description="Key", ordering="name")
    def key(self, key: APIKey) -> str:
        return format_html('{}<br><span class="mono muted">{}</span>', key.name, key.shown_as)

    @admin.display(description="State")
    def state_column(self, key: APIKey) -> str:
        return badge(key.state)

    @admin.display(description="Last used", ordering="last_used_at")
    def last_use(self, key: APIKey) -> str:
        return last_used(key)

    @admin.display(description="Last address", ordering="last_used_ip")
    def last_ip(self, key: APIKey) -> str:
        return key.last_used_ip or "–"

    @admin.display(description="Last 30 days")
    def use(self, key: APIKey) -> str:
        return format_html("{}", key.month_use)  # type: ignore[attr-defined]

    # --- One key ---

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or "edit" in obj.actions)

    @reject_bad_values
    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        key = self.get_object(request, unquote(object_id))
        if key is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_or_change_permission(request, key):
            raise PermissionDenied
        restore = self.row_action("restore")
        view = StaffKeyView.as_view(
            may_edit=self.has_change_permission(request, key),
            may_delete=self.has_delete_permission(request, key),
            may_restore=key.deleted_at is not None
            and restore.may(request.user, APIKey)
            and self.may_touch(request.user, key),
        )
        return view(request, key_id=key.pk)

    @sensitive_variables()
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return StaffCreateView.as_view()(request)
