"""Your own keys, under /account/keys/."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.views import View

from accounts.profile.lists import list_setup
from apikeys.pages.actions import UNDO_ACTIONS
from apikeys.pages.filters import OwnKeyFilter
from apikeys.pages.mixins import OwnerKeysMixin
from apikeys.pages.rows import EXPORTED, export_keys, key_rows
from apikeys.pages.views import CreateKeyView, EditKeyView, KeyActionView
from config.base.actions import UndoView
from config.base.export import wanted_format
from config.base.paginator import BoundedPaginator, rows_per_page

COLUMNS = {
    "key": "Key",
    "state": "State",
    "permissions": "Permissions",
    "last_used": "Last used",
    "use": "Last 30 days",
    "expires": "Expires",
    "created": "Created",
    "id": "ID",
}
EXTRA_COLUMNS = ("created", "id")
EXPORTED_TO_OWNERS = [name for name in EXPORTED if name not in {"user", "deleted_at"}]


class OwnerView(OwnerKeysMixin, View):
    http_method_names = ["get", "head", "post"]


class KeyListView(OwnerView):
    def get(self, request: HttpRequest) -> HttpResponseBase:
        found = OwnKeyFilter(request.GET, queryset=self.get_queryset())
        if file_format := wanted_format(request.GET):
            return export_keys(request, file_format, found.qs, EXPORTED_TO_OWNERS)
        setup = list_setup(request, list(COLUMNS.items()), EXTRA_COLUMNS)
        if setup.default_url:
            return HttpResponseRedirect(setup.default_url)
        keys = found.qs.prefetch_related("permissions")
        page = BoundedPaginator(keys, rows_per_page(request)).get_page(request.GET.get("page"))
        return self.page(
            "apikeys/pages/owner_list.html",
            setup=setup,
            filter=found,
            page=page,
            rows=key_rows(page),
            has_keys=page.paginator.count > 0 or self.get_queryset().exists(),
            title="API keys",
        )


class OwnerCreateView(OwnerKeysMixin, CreateKeyView):
    pass


class KeyDetailView(OwnerView):
    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        return self.page("apikeys/pages/owner_detail.html", key=key, row=key_rows([key])[0], title=key.name)


class OwnerEditView(OwnerKeysMixin, EditKeyView):
    pass


class OwnerActionView(OwnerKeysMixin, KeyActionView):
    pass


class OwnerUndoView(OwnerKeysMixin, UndoView):
    undo_actions = UNDO_ACTIONS
