from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from accounts.models import SavedView
from accounts.profile.lists import ListSetup, list_setup
from accounts.signin import access
from apikeys.models import KeyUsage
from config.base.http import local_url
from config.base.views import reject_bad_values
from config.staff.history import HistoryAdmin
from config.staff.overview import overview
from config.staff.palette import actions, pages, suggestions
from config.staff.search import MAX_QUERY_LENGTH, search


class GatehouseAdminSite(AdminSite):
    site_title = site_header = settings.INSTANCE_NAME
    index_title = "Overview"
    site_url = "/account/"
    # templates/admin/base_site.html has a side bar of its own.
    enable_nav_sidebar = False
    # Models with pages of their own instead of the admin's; staff can be permitted to view them, too.
    models_with_pages = (KeyUsage, SavedView)

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.register(LogEntry, HistoryAdmin)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            path("search/", self.admin_view(self.search_view), name="search"),
            path("search/suggest/", self.admin_view(self.suggest_view), name="suggest"),
            *super().get_urls(),
        ]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, overview(request) | (extra_context or {}))

    def list_setup(self, request: HttpRequest, labels: Sequence[tuple[str, str]], extra: Sequence[str]) -> ListSetup:
        """For the sections, which are in lower layers than personal settings."""
        return list_setup(request, labels, extra)

    def search_view(self, request: HttpRequest) -> HttpResponse:
        query = request.GET.get("q", "").strip()[:MAX_QUERY_LENGTH]
        context = self.each_context(request) | {
            "title": "Search",
            "global_query": query,
            "groups": search(self, request, query),
            "shortcuts": [*actions(request.user, query), *pages(request.user, query)] if query else [],
        }
        return TemplateResponse(request, "admin/search.html", context)

    # By POST, because what is typed may be a secret.
    @method_decorator([require_POST, sensitive_post_parameters("q"), sensitive_variables()])
    def suggest_view(self, request: HttpRequest) -> HttpResponse:
        text = request.POST.get("q", "").strip()[:MAX_QUERY_LENGTH]
        found = [suggestion._asdict() for suggestion in suggestions(self, request, text)]
        return JsonResponse({"suggestions": found})

    def autocomplete_view(self, request: HttpRequest) -> Any:
        return reject_bad_values(super().autocomplete_view)(request)

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Leaves out allauth's models: their admin pages would bypass the rules for changing users."""
        models = [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
        ours = [model for model in models if not model.__module__.startswith("allauth.")]
        super().register(ours, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        return access.has_staff_access(request)

    # A browser that caches this redirect would loop after sign-in.
    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send staff to the common sign-in page, and back to ?next= or, from any other staff page, to that page."""
        is_login_page = request.path == reverse("admin:login", current_app=self.name)
        wanted = request.GET.get(REDIRECT_FIELD_NAME, "") if is_login_page else request.get_full_path()
        wanted = local_url(request, wanted, reverse("admin:index", current_app=self.name))
        if self.has_permission(request):
            return HttpResponseRedirect(wanted)
        return access.handle_no_staff_access(request, wanted)

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("account_change_password"))
