"""The Users and Groups sections of the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from accounts import rights, services
from accounts.models import User
from accounts.staff.actions import ACTIONS, ChangeBack
from accounts.staff.filters import query_of_users
from accounts.staff.forms import PlanForm, PrivilegesForm
from config.base.admin import GatehouseModelAdmin, when
from config.base.admin_soft_delete import SoftDeleteAdmin
from config.base.changelist import GatehouseChangeList
from config.base.stale import EditForm
from config.base.templatetags import badge, badges
from config.base.text import search_form
from config.base.validators import validate_name
from tiers.models import Tier


class UserAdminForm(PrivilegesForm, PlanForm):
    class Meta(PrivilegesForm.Meta, PlanForm.Meta):
        fields = PlanForm.Meta.fields


class UserChangeList(GatehouseChangeList):
    def url_for_result(self, result: Any) -> str:
        return str(result.get_absolute_url())


@admin.register(User)
class UserAdmin(SoftDeleteAdmin):
    row_actions = (ACTIONS["delete"], ACTIONS["restore"])
    undo_actions = (*row_actions, ChangeBack())
    form = UserAdminForm
    list_display = ("username", "name", "email", "tier", "state_column", "last_seen")
    list_filter = (
        "is_active",
        "is_staff",
        "tier",
        ("created_at", admin.DateFieldListFilter),
        ("last_login", admin.DateFieldListFilter),
    )
    list_select_related = ("tier",)
    search_fields = ("username__has", "email__has", "name_folded__has")
    ordering = ("-created_at", "-pk")
    autocomplete_fields = ("tier",)
    empty_advice = "Users sign in, are on a tier, and own API keys."
    export_fields = (
        "id", "username", "name", "email", "tier", "is_active", "is_staff", "is_superuser", "last_login", "created_at",
        "deleted_at",
    )  # fmt: skip
    last_seen = when("last_login", "Last seen")
    signed_in = when("last_login", "Last sign-in")

    @admin.display(description="State", ordering="is_active")
    def state_column(self, user: User) -> str:
        state = badge("active" if user.is_active else "suspended")
        return format_html("{}<br>{}", state, badges(user.states[1:])) if user.is_staff else state

    @admin.display(description="password")
    def password_column(self, user: User) -> str:
        return "set" if user.has_usable_password() else "not set"

    # --- List ---

    @property
    def list_url(self) -> str:
        return reverse("users:list")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to /users/, unless a filter or an action only works here."""
        if request.method in {"GET", "HEAD"} and request.user.has_perm("accounts.view_user"):
            query = query_of_users(request.GET)
            if query is not None:
                return HttpResponseRedirect(f"{self.list_url}?{query}" if query else self.list_url)
        return super().changelist_view(request, extra_context)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[GatehouseChangeList]:
        return UserChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return self.choices(request, queryset).matching(search_term), False

    # --- Form ---

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        profile: tuple[Any, ...] = (
            None,
            {"fields": ("name", "username", "email", ("tier", "tier_until"), "billing_day")},
        )
        if obj is None:
            return (profile,)
        return (
            profile,
            ("Access", {"fields": ("is_active", "password_column", "signed_in")}),
            ("Permissions", {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        actor: Any = request.user
        return ("password_column", "signed_in", *sorted(rights.protected_fields(actor, obj)))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        default = Tier.objects.default()
        return ({"tier": default.pk} if default else {}) | super().get_changeform_initial_data(request)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            vars(request)["can_undo"] = bool(services.update(form, self.author(request)))
        else:
            services.create(obj, self.author(request))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Do nothing, because the service writes the history."""

    log_change = log_addition


class GroupForm(EditForm):
    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        validate_name(name)
        return name


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(GatehouseModelAdmin):
    """Groups grant permissions, so only superusers may change them."""

    form = GroupForm
    list_display = ("name",)
    search_fields = ("name",)
    ordering = ("name",)
    empty_advice = "A group is a set of permissions for staff."

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        # Django's model has no folded name to search by.
        words = search_form(search_term).split()
        names = queryset.values_list("pk", "name")
        return queryset.filter(
            pk__in=[pk for pk, name in names if all(word in search_form(name) for word in words)]
        ), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)
