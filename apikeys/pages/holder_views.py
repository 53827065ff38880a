"""An account holder's own keys, under /account/keys/. Anybody else's key answers as one that does not exist."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from apikeys import services
from apikeys.models import APIKey
from apikeys.pages.desks import Desk, HolderDesk
from apikeys.pages.forms import CreateKeyForm, KeyForm
from apikeys.pages.rows import key_rows
from apikeys.pages.views import add_errors, create_key, done, status_of, told_why_not

PAGE_SIZE = 25
TABS = (("in_use", "In use"), ("ended", "Revoked or expired"))


@require_safe
@login_required
def key_list(request: HttpRequest) -> HttpResponse:
    desk = HolderDesk(request)
    tab = "ended" if request.GET.get("show") == "ended" else "in_use"
    keys = {"in_use": desk.keys().in_use(), "ended": desk.keys().ended()}
    page = Paginator(keys[tab].select_related("user").prefetch_related("permissions"), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    counts = {name: page.paginator.count if name == tab else keys[name].count() for name in keys}
    tabs = [(name, label, counts[name], name == tab) for name, label in TABS]
    return desk.page(
        "apikeys/pages/holder_list.html", page=page, rows=key_rows(page), tabs=tabs, tab=tab, title="API keys"
    )


@sensitive_variables()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def key_create(request: HttpRequest) -> HttpResponse:
    form = CreateKeyForm(request.POST if request.method == "POST" else None, maker=request.user)
    return create_key(HolderDesk(request), form, request.user)


def key_detail(desk: Desk, key_id: UUID) -> HttpResponse:
    key = desk.find(key_id)
    return desk.page("apikeys/pages/holder_detail.html", key=key, row=key_rows([key])[0], title=key.name)


def key_edit(desk: Desk, key_id: UUID) -> HttpResponse:
    key = desk.find(key_id)
    if refused := told_why_not(desk, key, "edit"):
        return refused
    if desk.request.method != "POST":
        return edit_page(desk, key, KeyForm(key=key))
    with transaction.atomic():
        services.lock(key)
        locked = desk.find(key_id)
        form = KeyForm(desk.request.POST, key=locked)
        if form.is_valid() and save_edit(desk, locked, form):
            return done(desk, locked, f"“{locked.name}” is saved.")
        return edit_page(desk, key, form)


def save_edit(desk: Desk, key: APIKey, form: KeyForm) -> bool:
    try:
        services.edit_key(key, desk.author, **form.settings())
    except ValidationError as error:
        add_errors(form, error)
        return False
    return True


def edit_page(desk: Desk, key: APIKey, form: KeyForm) -> HttpResponse:
    title = f"Edit “{key.name}”"
    return desk.page("apikeys/pages/key_form.html", form=form, key=key, title=title, status=status_of(form))
