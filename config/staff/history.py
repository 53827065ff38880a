from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst

from accounts.models import User
from config.base.admin import ReadOnlyAdmin, when
from config.base.history import describe


class AuthorFilter(admin.SimpleListFilter):
    """Offers up to a hundred users who made changes."""

    title = "user"
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        people = LogEntry.objects.order_by().values_list("user_id", "user__username").distinct()[:100]
        return sorted(((str(pk), name) for pk, name in people), key=lambda person: person[1])

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(user_id=int(value)) if value.isascii() and value.isdecimal() else queryset.none()


class KindFilter(admin.SimpleListFilter):
    """Offers the models with a section."""

    title = "type"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = {model._meta.label_lower: model._meta.verbose_name for model in model_admin.admin_site._registry}
        return sorted(((label, capfirst(str(name))) for label, name in kinds.items()), key=lambda kind: kind[1])

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        app, _, model = (self.value() or "").partition(".")
        return queryset.filter(content_type__app_label=app, content_type__model=model) if model else queryset


def titled(title: str, kind: type[admin.FieldListFilter]) -> type[admin.FieldListFilter]:
    class Titled(kind):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.title = title

    return Titled


def url_of(entry: LogEntry) -> str | None:
    """The page of what was changed; a user has one at /users/."""
    is_user = entry.content_type is not None and entry.content_type.model_class() is User
    pk = entry.object_id or ""
    return reverse("users:detail", args=[pk]) if is_user and pk.isdecimal() else entry.get_admin_url()


class HistoryAdmin(ReadOnlyAdmin):
    section_name = "history"
    counted_as = "entry,entries"
    list_display = ("when_column", "user", "object_column", "what_column", "ip_column")
    list_display_links = None
    fields = list_display
    list_filter = (
        AuthorFilter,
        KindFilter,
        ("action_flag", titled("change", admin.ChoicesFieldListFilter)),
        ("action_time", titled("when", admin.DateFieldListFilter)),
    )
    allowed_lookups = ("content_type__id__exact",)
    list_select_related = ("user", "content_type")
    search_fields = ("object_repr", "object_id")
    ordering = ("-action_time", "-pk")
    actions = None
    empty_advice = "Every change by a user or a command appears here, with old and new values."
    export_fields = ("action_time", "user", "content_type", "object_id", "object_repr", "action_flag", "change_message")
    when_column = when("action_time", "When")

    @admin.display(description="Object")
    def object_column(self, entry: LogEntry) -> str:
        url = url_of(entry)
        name = format_html('<a href="{}">{}</a>', url, entry.object_repr) if url else entry.object_repr
        kind = capfirst(str(entry.content_type.name)) if entry.content_type else "–"
        return format_html('{}<span class="sub">{}</span>', name, kind)

    @admin.display(description="Change")
    def what_column(self, entry: LogEntry) -> str:
        return render_to_string("base/history_entry.html", {"entry": entry})

    @admin.display(description="From")
    def ip_column(self, entry: LogEntry) -> str:
        what = describe(entry)
        return " · ".join(part for part in (what.ip, what.via) if part) or "–"
