"""The staff site: Django's admin with our sections, dashboard and look."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path

from config.base_admin import refusing_bad_values
from config.history_admin import HistoryAdmin
from config.overview import overview
from config.search import LONGEST_QUERY, search


class GatehouseAdminSite(AdminSite):
    site_title = "Gatehouse"
    site_header = "Gatehouse"
    index_title = "Overview"
    site_url = "/account/"
    # templates/admin/base_site.html has a side bar of its own.
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.register(LogEntry, HistoryAdmin)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [path("search/", self.admin_view(self.search_view), name="search"), *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, overview(request) | (extra_context or {}))

    def search_view(self, request: HttpRequest) -> HttpResponse:
        """Everything that matches ?q=, of the kinds that the person may view."""
        query = request.GET.get("q", "").strip()[:LONGEST_QUERY]
        context = self.each_context(request) | {
            "title": "Search",
            "global_query": query,
            "groups": search(self, request, query),
        }
        return TemplateResponse(request, "admin/search.html", context)

    def autocomplete_view(self, request: HttpRequest) -> Any:
        return refusing_bad_values(super().autocomplete_view)(request)
