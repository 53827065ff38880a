"""The Users and Groups sections of the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from accounts import rights
from accounts.addresses import set_address
from accounts.models import User
from accounts.staff import mails
from accounts.staff.actions import ACTIONS
from config.base.admin import GatehouseModelAdmin, when
from config.base.admin_soft_delete import SoftDeleteAdmin
from config.base.changelist import GatehouseChangeList
from config.base.stale import EditForm
from config.base.templatetags import badge, badges
from config.base.text import search_form
from config.base.validators import validate_name
from tiers.models import Tier


class UserForm(EditForm):
    def clean(self) -> dict[str, Any]:
        """Keep one superuser, also when two demote or suspend each other at once: the check locks their rows."""
        cleaned: dict[str, Any] = super().clean()
        removes = {name for name in ("is_active", "is_superuser") if cleaned.get(name) is False} & set(
            self.changed_data
        )
        if removes and rights.would_remove_last_superuser([self.instance]):
            raise ValidationError("Nobody else could sign in as a superuser.")
        return cleaned


class UserChangeList(GatehouseChangeList):
    def url_for_result(self, result: Any) -> str:
        return str(result.get_absolute_url())


@admin.register(User)
class UserAdmin(SoftDeleteAdmin):
    row_actions = (ACTIONS["delete"], ACTIONS["restore"])
    form = UserForm
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
    empty_advice = "An account signs in, is on a tier and holds API keys."
    csv_fields = (
        "id", "username", "name", "email", "tier", "is_active", "is_staff", "is_superuser", "last_login", "created_at",
        "deleted_at",
    )  # fmt: skip
    last_seen = when("last_login", "Last seen")
    signed_in = when("last_login", "Last sign-in")

    @admin.display(description="State", ordering="is_active")
    def state_column(self, user: User) -> str:
        """Whether the account may act, and below it, for staff, its role."""
        state = badge("active" if user.is_active else "suspended")
        return format_html("{}<br>{}", state, badges(user.states[1:])) if user.is_staff else state

    @admin.display(description="password")
    def password_column(self, user: User) -> str:
        return "set" if user.has_usable_password() else "not set: no sign-in by password"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[GatehouseChangeList]:
        return UserChangeList

    # --- Form ---

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        who: tuple[Any, ...] = (None, {"fields": ("name", "username", "email", "tier")})
        if obj is None:
            return (who,)
        return (
            who,
            ("Access", {"fields": ("is_active", "password_column", "signed_in")}),
            ("Rights", {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        actor: Any = request.user
        return ("password_column", "signed_in", *sorted(rights.protected_fields(actor, obj)))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        default = Tier.objects.default()
        return ({"tier": default.pk} if default else {}) | super().get_changeform_initial_data(request)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """A new account has no password: its holder sets one by mail, staff never choose it."""
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)
        if not change:
            set_address(obj, verified=False)
            mails.send_invitation(request, obj)
        elif "email" in form.changed_data:
            mails.move_address(request, obj, form.initial["email"])

    # --- Rights ---

    def may_touch(self, user: Any, row: User) -> bool:
        return rights.may_change(user, row)


class GroupForm(EditForm):
    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        validate_name(name)
        return name


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(GatehouseModelAdmin):
    """Groups carry rights, so only superusers may touch them; others see them if they have the permission."""

    form = GroupForm
    list_display = ("name",)
    search_fields = ("name",)
    ordering = ("name",)
    empty_advice = "A group bundles permissions for staff."

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        """Groups are few and Django's own: their names are compared here, in the form in which others are stored."""
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
