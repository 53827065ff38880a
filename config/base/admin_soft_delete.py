"""The admin of soft-deletable models: live rows first, delete and restore with pages that say what will happen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from config.base.admin import GatehouseModelAdmin
from config.base.history import CHANGE, DELETION
from config.base.templatetags import badge
from config.base.text import ago, counted
from config.base.views import refusing_bad_values, staff_render

MOST_AT_ONCE = 5000
MOST_NAMED = 20
DELETE, RESTORE = "delete", "restore"
DONE = {DELETE: "Deleted", RESTORE: "Restored"}


class StateFilter(admin.SimpleListFilter):
    """Live rows unless the person asks for the deleted ones, or for all."""

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
    actions: Any = ("delete_selected", "restore_selected", "export_selected")
    change_form_template = "admin/soft_delete_change_form.html"
    confirm_template = "admin/confirm.html"

    # --- Hooks ---

    def why_not(self, request: HttpRequest, row: Any, verb: str) -> str:
        """Why this person may not do this to this row, as a sentence; empty: the model's permissions decide.

        verb: "change", "delete" or "restore".
        """
        return ""

    def consequences(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> list[str]:
        """What will happen, in sentences with numbers."""
        return []

    def obstacle(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> str:
        """What stands in the way whoever asks, as a sentence; the confirmation page shows it instead of its button."""
        return ""

    def carry_out(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> None:
        """Do it, in a transaction. Raises ValidationError with the reason if it cannot be done."""
        queryset: Any = self.model._default_manager.filter(pk__in=[row.pk for row in rows])
        if verb == DELETE:
            queryset.delete()
        else:
            queryset.restore()
        flag = DELETION if verb == DELETE else CHANGE
        self.author(request).record_many(rows, flag, note=f"{DONE[verb]}.")

    # --- Rights ---

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or (obj.deleted_at is None and not self.why_not(request, obj, "change"))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or (obj.deleted_at is None and not self.why_not(request, obj, DELETE))

    def has_restore_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The right to delete: who may take a row away may bring it back, here as on the pages under /users/.
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or (obj.deleted_at is not None and not self.why_not(request, obj, RESTORE))

    # --- Lists ---

    def get_list_filter(self, request: HttpRequest) -> Any:
        return (StateFilter, *super().get_list_filter(request))

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = (*super().get_list_display(request),)
        return (*shown, "deleted_column") if request.GET.get("state") in {"deleted", "all"} else shown

    @admin.display(description="Deleted", ordering="deleted_at")
    def deleted_column(self, row: Any) -> str:
        return badge(f"deleted {ago(row.deleted_at)}", "danger") if row.deleted_at else "–"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        found: Any
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        if request.path == reverse("admin:autocomplete"):
            found = found.live()
        return found, may_have_duplicates

    @admin.action(description="Delete selected %(verbose_name_plural)s", permissions=("delete",))
    def delete_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.confirm_many(request, queryset.live(), DELETE)

    @admin.action(description="Restore selected %(verbose_name_plural)s", permissions=("restore",))
    def restore_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.confirm_many(request, queryset.deleted(), RESTORE)

    def confirm_many(self, request: HttpRequest, queryset: Any, verb: str) -> HttpResponse | None:
        rows = list(queryset[: MOST_AT_ONCE + 1])
        problem = self.selection_problem(request, rows, verb)
        if problem:
            self.tell(request, problem, messages.ERROR)
            return None
        if request.POST.get("post"):
            self.attempt(request, rows, verb)
            return None
        return self.confirmation(request, rows, verb, hidden=self.action_fields(rows, verb))

    def selection_problem(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> str:
        if not rows:
            return (
                f"Nothing to {verb}: none of the selected {self.opts.verbose_name_plural} can be {DONE[verb].lower()}."
            )
        if len(rows) > MOST_AT_ONCE:
            return f"At most {MOST_AT_ONCE:,} {self.opts.verbose_name_plural} at once. Narrow the list with filters."
        return next((reason for row in rows if (reason := self.why_not(request, row, verb))), "")

    def action_fields(self, rows: Iterable[Any], verb: str) -> list[tuple[str, Any]]:
        selected = [(ACTION_CHECKBOX_NAME, row.pk) for row in rows]
        return [*selected, ("action", f"{verb}_selected")]

    # --- One row ---

    @refusing_bad_values
    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self.confirm_one(request, object_id, DELETE)

    @refusing_bad_values
    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirm_one(request, object_id, RESTORE)

    def confirm_one(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        allowed = self.has_delete_permission if verb == DELETE else self.has_restore_permission
        if not allowed(request, row):
            raise PermissionDenied
        if request.method == "POST" and self.attempt(request, [row], verb):
            place = "changelist" if verb == DELETE else "change"
            return HttpResponseRedirect(self.url(place, *([] if verb == DELETE else [row.pk])))
        return self.confirmation(request, [row], verb)

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_restore"
        restore = path("<path:object_id>/restore/", self.admin_site.admin_view(self.restore_view), name=name)
        return [restore, *super().get_urls()]

    def why_ended(self, request: HttpRequest, object_id: str) -> str:
        row = self.get_object(request, unquote(object_id))
        if row is None or row.deleted_at is None or not super().has_change_permission(request, row):
            return ""
        return f"This {self.opts.verbose_name} was deleted meanwhile."

    def url(self, place: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{place}", args=args)

    # --- Both ---

    def attempt(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> bool:
        """Do it or say why not; returns whether it was done."""
        try:
            with transaction.atomic():
                self.refuse_forbidden(request, rows, verb)
                self.carry_out(request, rows, verb)
        except ValidationError as error:
            self.tell(request, " ".join(error.messages), messages.ERROR)
            return False
        self.tell(request, f"{DONE[verb]}: {self.named(rows)}.")
        return True

    def refuse_forbidden(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> None:
        """Raise ValidationError with the reason if one of the rows is not this person's to touch."""
        for row in rows:
            reason = self.why_not(request, row, verb)
            if reason:
                raise ValidationError(reason)

    def named(self, rows: Sequence[Any]) -> str:
        if len(rows) == 1:
            return f"{self.opts.verbose_name} “{rows[0]}”"
        return counted(len(rows), str(self.opts.verbose_name), str(self.opts.verbose_name_plural))

    def confirmation(
        self, request: HttpRequest, rows: Sequence[Any], verb: str, hidden: Sequence[tuple[str, Any]] = ()
    ) -> HttpResponse:
        context = {
            "title": f"{verb.capitalize()} {self.named(rows)}?",
            "opts": self.opts,
            "verb": verb,
            "rows": rows[:MOST_NAMED],
            "more": max(0, len(rows) - MOST_NAMED),
            "consequences": self.consequences(request, rows, verb),
            "obstacle": self.obstacle(request, rows, verb),
            "hidden": [*hidden, ("post", "yes")],
            "back_url": self.url("change", rows[0].pk) if len(rows) == 1 else self.url("changelist"),
            **self.confirmation_extras(request, rows, verb),
        }
        return staff_render(request, self.confirm_template, context)

    def confirmation_extras(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> dict[str, Any]:
        """More for the confirmation template of a model that has one."""
        return {}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        row = context.get("original")
        context["restore_url"] = (
            self.url("restore", row.pk) if row is not None and self.has_restore_permission(request, row) else ""
        )
        return super().render_change_form(request, context, *args, **kwargs)
