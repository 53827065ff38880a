"""Your own keys, under /account/keys/."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views import View

from apikeys import services
from apikeys.models import APIKey
from apikeys.pages.actions import ACTIONS
from apikeys.pages.forms import KeyForm
from apikeys.pages.mixins import OwnerKeysMixin
from apikeys.pages.rows import key_rows
from apikeys.pages.views import CreateKeyView, KeyActionView, status_of
from config.base.actions import UndoView, add_errors
from config.base.history import Author

PAGE_SIZE = 25
TABS = (("in_use", "In use"), ("ended", "Revoked or expired"))


class OwnerView(OwnerKeysMixin, View):
    http_method_names = ["get", "head", "post"]


class KeyListView(OwnerView):
    def get(self, request: HttpRequest) -> HttpResponse:
        tab = "ended" if request.GET.get("show") == "ended" else "in_use"
        keys = {"in_use": self.get_queryset().in_use(), "ended": self.get_queryset().ended()}
        page = Paginator(keys[tab].prefetch_related("permissions"), PAGE_SIZE).get_page(request.GET.get("page"))
        counts = {name: page.paginator.count if name == tab else keys[name].count() for name in keys}
        tabs = [(name, label, counts[name], name == tab) for name, label in TABS]
        return self.page(
            "apikeys/pages/owner_list.html", page=page, rows=key_rows(page), tabs=tabs, tab=tab, title="API keys"
        )


class OwnerCreateView(OwnerKeysMixin, CreateKeyView):
    pass


class KeyDetailView(OwnerView):
    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        return self.page("apikeys/pages/owner_detail.html", key=key, row=key_rows([key])[0], title=key.name)


class KeyEditView(OwnerView):
    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        if reason := services.why_not(key, "edit"):
            messages.error(request, reason)
            return redirect(self.page_url("detail", key))
        return self.show(key, KeyForm(key=key))

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        with transaction.atomic():
            services.lock(key)
            locked = self.get_object()
            form = KeyForm(request.POST, key=locked)
            if form.is_valid():
                try:
                    services.edit_key(locked, Author(request.user, request), **form.settings())
                except ValidationError as error:
                    add_errors(form, error)
                else:
                    messages.success(request, f"API key “{locked.name}” saved.")
                    return redirect(self.page_url("detail", locked))
        return self.show(key, form)

    def show(self, key: APIKey, form: KeyForm) -> HttpResponse:
        title = f"Edit “{key.name}”"
        return self.page("apikeys/pages/key_form.html", status_of(form), form=form, key=key, title=title)


class OwnerActionView(OwnerKeysMixin, KeyActionView):
    pass


class OwnerUndoView(OwnerKeysMixin, UndoView):
    undo_actions = ACTIONS
