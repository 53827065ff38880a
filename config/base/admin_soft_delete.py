"""The admin of soft-deletable models: live rows first, and actions that delete and restore them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse

from config.base.actions import Action, ActionOutcome, ActionView, BulkActionView, UndoView
from config.base.admin import GatehouseModelAdmin
from config.base.history import CHANGE, DELETION, Author, entries_of
from config.base.templatetags import badge
from config.base.text import ago
from config.base.undo import FORMER, offer_undo, undo_in_history
from config.base.views import reject_bad_values


class Delete(Action):
    name, label, done, undo, matching = "delete", "Delete", "{} deleted.", "restore", "live"
    permissions = ("delete",)
    sentences: Sequence[str] = ("Nothing is removed: you can restore it until it's purged.",)
    harmful = True
    flag, note = DELETION, "Deleted."

    def change(self, rows: Any) -> None:
        rows.delete()

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        changed = list(rows)
        with transaction.atomic():
            self.change(rows.model._default_manager.filter(pk__in=[row.pk for row in changed]))
            author.record_many(changed, self.flag, note=self.note)
        return ActionOutcome(len(changed))


class Restore(Delete):
    name, label, done, undo, matching = "restore", "Restore", "{} restored.", "delete", "deleted"
    sentences: Sequence[str] = ()
    harmful = False
    flag, note = CHANGE, "Restored."

    def change(self, rows: Any) -> None:
        rows.restore()


class AdminActionView(ActionView):
    model_admin: Any = None
    via = "admin"

    def get_queryset(self) -> Any:
        return self.model_admin.model._default_manager.all()

    def get_object(self) -> Any:
        row = self.model_admin.get_object(self.request, unquote(self.kwargs["object_id"]))
        if row is None:
            raise Http404
        return row

    def page_url(self, page: str, row: Any = None) -> str:
        if page == "list":
            return str(self.model_admin.list_url)
        rows = [row.pk] if row is not None else []
        return str(self.model_admin.url("change" if page == "detail" else page, *rows))

    def get_success_url(self) -> str:
        return self.get_list_url() if self.action.name == "delete" else super().get_success_url()

    def unfit(self) -> HttpResponse:
        raise PermissionDenied


class AdminBulkView(BulkActionView, AdminActionView):
    selection = ("action", ACTION_CHECKBOX_NAME, "select_across", "index")
    queryset: Any = None

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(pk__in=self.queryset.order_by().values("pk"))

    def get_list_url(self) -> str:
        return self.request.get_full_path()


class AdminUndoView(UndoView, AdminActionView):
    def get_success_url(self) -> str:
        return ActionView.get_success_url(self)


class StateFilter(admin.SimpleListFilter):
    """Live rows, unless you ask for the deleted ones or all."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return (("deleted", "Deleted"), ("all", "Live and deleted"))

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        yield {**first, "display": "Live", "selected": self.value() not in {"deleted", "all"}}
        yield from others

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "all":
            return queryset
        return queryset.deleted() if self.value() == "deleted" else queryset.live()


class SoftDeleteAdmin(GatehouseModelAdmin):
    # For the list; those called "delete" and "restore" have pages, too.
    row_actions: Sequence[Action] = (Delete(), Restore())
    change_form_template = "admin/soft_delete_change_form.html"

    @property
    def undo_actions(self) -> Sequence[Action]:
        """Those that take one of the `row_actions` back."""
        return self.row_actions

    def may_touch(self, user: Any, row: Any) -> bool:
        """Whether `user`, given the permission, may change this row."""
        return not self.row_action("restore").why_not(user, row)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or (obj.deleted_at is None and self.may_touch(request.user, obj)))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may, why_not = super().has_delete_permission(request, obj), self.row_action("delete").why_not
        return may and (obj is None or (obj.deleted_at is None and not why_not(request.user, obj)))

    # --- Undo of an edit ---

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        entry = super().log_change(request, obj, message)
        vars(request)["can_undo"] = entry is not None and self.can_put_back
        return entry

    @property
    def can_put_back(self) -> bool:
        return any(action.name == FORMER for action in self.undo_actions)

    def message_user(
        self, request: HttpRequest, message: Any, level: int | str = messages.INFO, *args: Any, **more: Any
    ) -> None:
        if level == messages.SUCCESS and vars(request).get("can_undo"):
            offer_undo(request, message, self.author(request), FORMER, self.url("undo"))
        else:
            super().message_user(request, message, level, *args, **more)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        last = (
            entries_of(row).first() if row and self.can_put_back and self.has_change_permission(request, row) else None
        )
        context = {"undo": undo_in_history(last, request.user, self.url("undo"))}
        return super().history_view(request, object_id, context | (extra_context or {}))

    def row_action(self, name: str) -> Action:
        return next(action for action in self.row_actions if action.name == name)

    def get_list_filter(self, request: HttpRequest) -> Any:
        return (StateFilter, *super().get_list_filter(request))

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = (*super().get_list_display(request),)
        return (*shown, "deleted_column") if request.GET.get("state") in {"deleted", "all"} else shown

    @admin.display(description="Deleted", ordering="deleted_at")
    def deleted_column(self, row: Any) -> str:
        return badge(f"deleted {ago(row.deleted_at)}", "danger") if row.deleted_at else "–"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return super().get_search_results(request, self.choices(request, queryset), search_term)

    def choices(self, request: HttpRequest, rows: Any) -> Any:
        """Fields that complete what you type offer live rows."""
        return rows.live() if request.path == reverse("admin:autocomplete") else rows

    def get_actions(self, request: HttpRequest) -> Any:
        others: dict[str, Any] = super().get_actions(request)
        # Django's own, which would remove the rows.
        others.pop("delete_selected", None)
        own = [action for action in self.row_actions if others and action.may(request.user, self.model)]
        return dict(map(self.list_action, own)) | others

    def list_action(self, action: Action) -> tuple[str, tuple[Any, str, str]]:
        def run(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase:
            return AdminBulkView.as_view(model_admin=model_admin, action=action, queryset=queryset)(request)

        name = f"{action.name}_selected"
        return name, (run, name, action.label)

    @reject_bad_values
    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        return self.action_view(request, object_id, "delete")

    @reject_bad_values
    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self.action_view(request, object_id, "restore")

    def action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponseBase:
        view = AdminActionView.as_view(model_admin=self, action=self.row_action(name))
        return view(request, object_id=object_id)

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_restore"
        restore = path("<path:object_id>/restore/", self.admin_site.admin_view(self.restore_view), name=name)
        undo_view = self.admin_site.admin_view(AdminUndoView.as_view(model_admin=self, undo_actions=self.undo_actions))
        undo = path("undo/", undo_view, name=f"{self.opts.app_label}_{self.opts.model_name}_undo")
        return [restore, undo, *super().get_urls()]

    def why_ended(self, request: HttpRequest, object_id: str) -> str:
        row = self.get_object(request, unquote(object_id))
        if row is None or row.deleted_at is None or not super().has_change_permission(request, row):
            return ""
        return f"This {self.opts.verbose_name} has been deleted."

    def url(self, page: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        row, may = context.get("original"), self.row_action("restore").may(request.user, self.model)
        restorable = may and row is not None and row.deleted_at is not None and self.may_touch(request.user, row)
        context["restore_url"] = self.url("restore", row.pk) if restorable else ""
        return super().render_change_form(request, context, *args, **kwargs)
