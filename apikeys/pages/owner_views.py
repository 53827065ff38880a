"""Your own keys, under /account/keys/."""

from __future__ import annotations

from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.views import View

from accounts.profile.lists import list_setup
from apikeys.pages.actions import UNDO_ACTIONS
from apikeys.pages.mixins import OwnerKeysMixin
from apikeys.pages.rows import EXPORTED, export_keys, key_rows
from apikeys.pages.views import CreateKeyView, EditKeyView, KeyActionView
from config.base.actions import UndoView
from config.base.export import wanted_format
from config.base.paginator import rows_per_page

TABS = (("in_use", "In use"), ("ended", "Revoked or expired"))
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
        tab = "ended" if request.GET.get("show") == "ended" else "in_use"
        keys = {"in_use": self.get_queryset().in_use(), "ended": self.get_queryset().ended()}
        if file_format := wanted_format(request.GET):
            return export_keys(request, file_format, keys[tab], EXPORTED_TO_OWNERS)
        setup = list_setup(request, list(COLUMNS.items()), EXTRA_COLUMNS)
        if setup.default_url:
            return HttpResponseRedirect(setup.default_url)
        page = Paginator(keys[tab].prefetch_related("permissions"), rows_per_page(request)).get_page(
            request.GET.get("page")
        )
        counts = {name: page.paginator.count if name == tab else keys[name].count() for name in keys}
        tabs = [(name, label, counts[name], name == tab) for name, label in TABS]
        return self.page(
            "apikeys/pages/owner_list.html",
            setup=setup,
            page=page,
            rows=key_rows(page),
            tabs=tabs,
            tab=tab,
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
