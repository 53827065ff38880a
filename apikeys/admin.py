"""The API keys section of the admin: the list and the page of a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.views.decorators.debug import sensitive_variables

from apikeys import services
from apikeys.fields import NetworksField
from apikeys.models import APIKey, KeyPermission, KeyState
from apikeys.pages.actions import Disable, Enable, OwnerGuard, Revoke
from apikeys.pages.rows import key_rows
from apikeys.pages.staff_views import StaffActionView, StaffCreateView
from config.base.actions import Action
from config.base.admin import PartInline, when
from config.base.admin_soft_delete import Delete, Restore, SoftDeleteAdmin
from config.base.changelist import GatehouseChangeList
from config.base.stale import EditForm
from config.base.templatetags import badge
from config.base.text import counted


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


class KeyForm(EditForm):
    allowed_ips = NetworksField(
        label="Allowed addresses",
        required=False,
        widget=admin.widgets.AdminTextareaWidget(attrs={"rows": 3, "class": "mono"}),
        help_text="Addresses or networks, IPv4 or IPv6, one a line. Empty: from anywhere.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "metadata" in self.fields:
            self.fields["metadata"].widget.attrs["rows"] = 3


class KeyPermissionInline(PartInline):
    model = KeyPermission
    fields = ("action", "resource", "host")


class DeleteKey(OwnerGuard, Delete):
    sentences = ("Usage is kept.", *Delete.sentences)

    def effects(self, rows: Any) -> Sequence[str]:
        active = counted(rows.effective().count(), "active key")
        return [f"{active} will stop working at once.", *self.sentences]


class RestoreKey(OwnerGuard, Restore):
    sentences = ("Keys work again unless they are revoked, disabled or expired.",)


@admin.register(APIKey)
class APIKeyAdmin(SoftDeleteAdmin):
    form = KeyForm
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
    inlines = (KeyPermissionInline,)
    fields = ("name", "allowed_ips", "rate_limit", "rate_window", "rate_period", "metadata")
    change_form_template = "admin/apikeys/apikey/change_form.html"
    change_list_template = "admin/apikeys/apikey/change_list.html"
    export_fields = (
        "id", "user", "name", "prefix", "last4", "is_active", "expires_at", "revoked_at", "revoked_reason",
        "last_used_at", "last_used_ip", "created_at", "deleted_at",
    )  # fmt: skip
    empty_advice = "A key lets a program use the API as its owner."
    extra_columns = ("created", "last_ip")
    expires = when("expires_at", "Expires")
    created = when("created_at", "Created")

    @property
    def undo_actions(self) -> Sequence[Action]:
        return (*self.row_actions, Enable())

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        # The window is the only choice. A script that leaves it out means a rolling one.
        options["required"] = False
        return super().formfield_for_choice_field(db_field, request, **options)

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
        return render_to_string("apikeys/pages/last_used.html", {"key": key})

    @admin.display(description="Last address", ordering="last_used_ip")
    def last_ip(self, key: APIKey) -> str:
        return key.last_used_ip or "–"

    @admin.display(description="Last 30 days")
    def use(self, key: APIKey) -> str:
        return render_to_string("apikeys/usage/_sparkline.html", {"use": key.month_use})  # type: ignore[attr-defined]

    # --- One key ---

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or "edit" in obj.actions)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except ValidationError as error:
            # The key was revoked or deleted after the check.
            self.tell(request, " ".join(error.messages), messages.ERROR)
            return HttpResponseRedirect(request.path)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if "edit" not in obj.actions:
            raise ValidationError("This key was revoked or deleted, or has expired. Nothing was changed.")
        super().save_model(request, obj, form, change)

    def why_ended(self, request: HttpRequest, object_id: str) -> str:
        reason = super().why_ended(request, object_id)
        key = None if reason else self.get_object(request, unquote(object_id))
        return reason or (services.why_not(key, "edit") if key is not None else "")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        key = context["original"]  # adding has a page of its own
        context |= {
            "key": key,
            "row": key_rows([key])[0],
            "actions": StaffActionView(request=request).offered_actions(key),
            "show_save_and_add_another": False,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @sensitive_variables()
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return StaffCreateView.as_view()(request)
