"""The base of every section of the admin: bounded lists and search, history with values, exports, no 5xx for bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import label_for_field
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.contrib.auth.models import Permission
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db import models
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from config.base.changelist import GatehouseChangeList, reject_bad_filters
from config.base.export import FORMATS, export_queryset, wanted_format
from config.base.forms import SafeAutocompleteSelect, StrictJSONField, TimeField, TimeInput
from config.base.history import (
    ADDITION,
    CHANGE,
    DELETION,
    SECRET_FIELDS,
    Author,
    Change,
    changes_between,
    former_values,
    initial_values,
    snapshot,
)
from config.base.paginator import BoundedPaginator
from config.base.periods import PeriodField
from config.base.permissions import offered_permissions, permission_label
from config.base.search import FoldedField
from config.base.stale import TOKEN, EditForm, StaleRows
from config.base.templatetags import ago
from config.base.undo import new_operation
from config.base.views import reject_bad_values, retry_on_conflict


def when(field: str, description: str, empty: str = "never") -> Callable[[Any, Any], str]:
    @admin.display(description=description, ordering=field)
    def column(self: Any, row: Any) -> str:
        return ago(getattr(row, field), empty)

    return column


class GatehouseModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = EditForm
    formfield_overrides = {
        models.JSONField: {"form_class": StrictJSONField},
        models.DateTimeField: {"form_class": TimeField, "widget": TimeInput},
        PeriodField: {},  # not the widget of other integers
    }
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_max_show_all = 200
    view_on_site = False
    actions: Any = ("export_selected",)
    # Shown in an empty list.
    empty_advice = ""
    # Lookups allowed in URLs in addition to those of `list_filter`, for links to this list.
    allowed_lookups: Sequence[str] = ()
    # Columns that are shown only to those who choose them.
    extra_columns: Sequence[str] = ()
    # Whether its rows have a history page.
    has_history = True
    # The columns of the export, by field name; empty: all but secrets.
    export_fields: Sequence[str] = ()

    @property
    def media(self) -> forms.Media:
        """Leaves out jQuery, XRegExp and what needs them. Fields and tables that use jQuery include it themselves."""
        return forms.Media(js=["admin/js/core.js"])

    @property
    def section_name(self) -> str:
        return str(self.opts.verbose_name_plural)

    @property
    def section_title(self) -> str:
        return capfirst(self.section_name)

    @property
    def list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    @property
    def counted_as(self) -> str:
        return f"{self.opts.verbose_name},{self.opts.verbose_name_plural}"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[GatehouseChangeList]:
        return GatehouseChangeList

    @admin.display(description="Select")
    def action_checkbox(self, obj: Any) -> SafeString:
        """Like Django's, which renders a template for each row."""
        html = '<input type="checkbox" name="{}" value="{}" class="row-select" aria-label="Select {}">'
        return format_html(html, ACTION_CHECKBOX_NAME, obj.pk, obj)

    # --- Views ---

    @reject_bad_values
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        setup = self.list_setup(request)
        if setup.default_url and request.method == "GET":
            return HttpResponseRedirect(setup.default_url)
        context = {
            "title": self.section_title,
            "model_admin": self,
            "setup": setup,
            "selection_actions": self.selection_actions(request),
        }
        try:
            return super().changelist_view(request, context | (extra_context or {}))
        except (BadRequest, DisallowedModelAdminLookup):
            if setup.view is None:
                raise
            text = f"The view “{setup.view}” uses a filter that this list no longer has. Save it again, or delete it."
            self.tell(request, text, messages.ERROR)
            return HttpResponseRedirect("?view=all")

    def selection_actions(self, request: HttpRequest) -> list[tuple[str, str]]:
        """All but the export, which has a menu of its own."""
        return [(name, label) for name, label in self.get_action_choices(request, ()) if name != "export_selected"]

    def get_list_display(self, request: HttpRequest) -> Any:
        return (*super().get_list_display(request), *self.extra_columns)

    def list_setup(self, request: HttpRequest) -> Any:
        site: Any = self.admin_site
        names = (*self.list_display, *self.extra_columns)
        labels = [(str(name), capfirst(str(label_for_field(name, self.model, self)))) for name in names]
        return site.list_setup(request, labels, self.extra_columns)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        title = {"title": f"Create {self.opts.verbose_name}"}
        return super().add_view(request, form_url, title | (extra_context or {}))

    @reject_bad_values
    @method_decorator(retry_on_conflict)
    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        # The row may have been deleted while the form was open; without the token, it was never open.
        reason = self.why_ended(request, object_id) if object_id and TOKEN in request.POST else ""
        if reason:
            self.tell(request, f"{reason} Nothing was saved.", messages.ERROR)
            return HttpResponseRedirect(request.path)
        return super().changeform_view(request, object_id, *args, **kwargs)

    def why_ended(self, request: HttpRequest, object_id: str) -> str:
        """Why a row can no longer be edited, as a sentence; empty if it can."""
        return ""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj._before_change = form.before
            form.lock_row()
            form.save_changes()
            obj._former = former_values(form.loaded, obj)
        else:
            super().save_model(request, obj, form, change)

    @reject_bad_values
    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return super().delete_view(request, object_id, extra_context)

    @reject_bad_values
    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        context = {"module_name": self.section_title, "list_url": self.list_url}
        return super().history_view(request, object_id, context | (extra_context or {}))

    def get_paginator(self, request: HttpRequest, queryset: Any, *args: Any, **options: Any) -> Any:
        """Start the history page of a row with the last change, as all others do. Django starts with the first."""
        is_history = queryset.model is LogEntry and self.model is not LogEntry
        return super().get_paginator(request, queryset.order_by("-pk") if is_history else queryset, *args, **options)

    @reject_bad_values
    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        file_format = request.GET.get("format", "csv")
        if file_format not in FORMATS:
            raise BadRequest("There is no export in this format.")
        changelist = reject_bad_filters(self.get_changelist_instance)(request)
        return self.export(request, changelist.get_queryset(request), file_format)

    def get_action_choices(self, request: HttpRequest, default_choices: Any = (("", "Choose one"),)) -> Any:
        return super().get_action_choices(request, list(default_choices))

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """404 for a missing row, where Django redirects to the index."""
        raise Http404(f"There is no {opts.verbose_name} with this id.")

    def response_action(self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any) -> HttpResponse | None:
        """400 for impossible ids, where Django raises an error, and our words for what is missing."""
        sent: Any = request.POST.copy()
        # The form has an empty one, so that Django looks at the action although no row is selected.
        sent.setlist(ACTION_CHECKBOX_NAME, [pk for pk in sent.getlist(ACTION_CHECKBOX_NAME) if pk])
        if wanted_format(sent, "export"):
            sent["action"] = "export_selected"
        self.check_ids(sent.getlist(ACTION_CHECKBOX_NAME))
        request.POST = sent
        if missing := self.missing_in(sent):
            self.tell(request, missing, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args)

    def check_ids(self, pks: Iterable[str]) -> None:
        try:
            for pk in pks:
                self.opts.pk.clean(pk, None)
        except ValidationError as error:
            raise BadRequest("A selected id is invalid.") from error

    def missing_in(self, sent: Any) -> str:
        if not sent.get("action"):
            return "Choose an action."
        if sent.get("select_across") != "1" and not sent.getlist(ACTION_CHECKBOX_NAME):
            return f"Select {self.section_name} first."
        return ""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", self.admin_site.admin_view(self.export_view), name=name), *super().get_urls()]

    # --- Export ---

    @admin.action(description="Export", permissions=("view",))
    def export_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponseBase:
        return self.export(request, queryset, wanted_format(request.POST, "export") or "csv")

    def export(self, request: HttpRequest, queryset: models.QuerySet[Any], file_format: str) -> HttpResponseBase:
        return export_queryset(request, file_format, f"{self.opts.model_name}s", queryset, self.exported_fields())

    def exported_fields(self) -> list[models.Field[Any, Any]]:
        return [
            field
            for field in self.opts.concrete_fields
            if not isinstance(field, FoldedField)
            and (field.name in self.export_fields if self.export_fields else field.name not in SECRET_FIELDS)
        ]

    # --- Form ---

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", SafeAutocompleteSelect(db_field, self.admin_site, using=kwargs.get("using")))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Checkboxes, which need no script and are accessible, unlike Django's double list."""
        kwargs.setdefault("widget", forms.CheckboxSelectMultiple)
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.remote_field.model is Permission:
            field.queryset = self.permissions_to_offer(db_field, request)
            field.label_from_instance = permission_label
        return field

    def permissions_to_offer(self, db_field: Any, request: HttpRequest) -> models.QuerySet[Permission]:
        object_id = getattr(request.resolver_match, "kwargs", {}).get("object_id")
        held = Q(**{f"{db_field.model._meta.model_name}__pk": object_id}) if object_id else Q()
        return offered_permissions(self.admin_site, held)

    def formfield_for_dbfield(self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """Leaves out the four icons next to each choice: the side bar has the same links."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(getattr(field, "widget", None), RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget  # type: ignore[union-attr]
        return field

    # --- History ---

    def author(self, request: HttpRequest) -> Author:
        """One author for all changes of a request, so that they can be undone together."""
        author = Author(request.user, request, via="admin", operation=new_operation())
        found: Author = vars(request).setdefault("author", author)
        return found

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self.author(request).record(obj, ADDITION, changes=[*initial_values(obj), *self.changes_of_parts(obj)])

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        changes = [*changes_between(obj._before_change, snapshot(obj)), *self.changes_of_parts(obj)]
        note = inline_note(message)
        if not changes and not note:
            return None
        author = self.author(request)
        first = author.written[0] if author.written else 0  # about its inline rows
        return author.record(obj, CHANGE, changes=changes, note=note, former=obj._former, first=first)

    def changes_of_parts(self, obj: Any) -> Sequence[Change]:
        """What was changed with a row, but is stored in others."""
        return ()

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> Any:
        return self.author(request).record_many(queryset, DELETION, note="Removed.")

    def tell(self, request: HttpRequest, text: str, level: int = messages.SUCCESS) -> None:
        self.message_user(request, text, level)


def inline_note(message: Any) -> str:
    parts = message if isinstance(message, list) else []
    sentences = []
    for part in parts:
        for verb, done in (("added", "Added"), ("changed", "Changed"), ("deleted", "Removed")):
            detail = part.get(verb, {})
            if "object" in detail:
                sentences.append(f"{done} {detail['name']} “{detail['object']}”.")
    return " ".join(sentences)


class RowFormSet(StaleRows):
    def clean(self) -> None:
        """Also validates constraints that include the parent, which Django leaves to the database."""
        super().clean()
        forms: list[Any] = self.forms
        row: Any = self.model
        if any(row._meta.pk.name in form.errors for form in forms):
            # Django shows this error at the hidden id, where nobody sees it.
            raise ValidationError(
                "Someone removed a row from this table while you had this page open. Reload the page."
            )
        for form in forms:
            if form.is_valid() and form.has_changed() and form not in self.deleted_forms:
                try:
                    form.instance.validate_constraints(exclude=form._get_validation_exclusions())
                except ValidationError as error:
                    form.add_error(None, error)


class ReadOnlyAdmin(GatehouseModelAdmin):
    has_history = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
