"""/account/lists/: the columns and views of lists that users choose and save."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import ListSetting, SavedView
from accounts.profile.lists import PAGES, visible_views
from config.base.actions import Action, ActionOutcome, ActionView
from config.base.filters import query_without
from config.base.history import Author
from config.base.http import local_url
from config.base.views import retry_on_conflict

MAX_COLUMNS = 50
# Per user and list.
MAX_VIEWS = 30
NAME = re.compile(r"[a-z0-9_]{1,50}")


class NamesField(forms.MultipleChoiceField):
    """Names of columns. A list ignores those that it doesn't have."""

    def valid_value(self, value: Any) -> bool:
        return NAME.fullmatch(value) is not None

    def clean(self, value: Any) -> list[str]:
        names: list[str] = super().clean(value)
        if len(names) > MAX_COLUMNS:
            raise forms.ValidationError("Choose fewer columns.")
        return names


class ViewForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = SavedView
        fields = ("name", "is_shared")
        labels = {"is_shared": "Share with all staff"}

    def __init__(self, *args: Any, user: Any, **options: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **options})
        if not user.has_perm("accounts.share_views"):
            del self.fields["is_shared"]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        view = self.instance
        if view.pk and view.user.saved_views.filter(page=view.page, name=name).exclude(pk=view.pk).exists():
            raise forms.ValidationError("You have another view with this name. Choose another one.")
        return name


class NewViewForm(ViewForm):
    page = forms.ChoiceField(choices=list(PAGES.items()), widget=forms.HiddenInput)
    query = forms.CharField(required=False, max_length=2000, widget=forms.HiddenInput)
    columns = NamesField(required=False, widget=forms.MultipleHiddenInput)

    def clean_query(self) -> str:
        return query_without(QueryDict(self.cleaned_data["query"]), "view", "live", "format")


class ListColumnsForm(forms.Form):
    page = forms.ChoiceField(choices=list(PAGES.items()))
    columns = NamesField(required=False)


@require_POST
@login_required
def list_columns(request: HttpRequest) -> HttpResponseRedirect:
    form = ListColumnsForm(request.POST)
    if not form.is_valid():
        raise BadRequest("This isn't a list with columns.")
    user: Any = request.user
    page, columns = form.cleaned_data["page"], form.cleaned_data["columns"]
    chosen = None if "reset" in request.POST else columns
    ListSetting.objects.update_or_create(user=user, page=page, defaults={"columns": chosen})
    return back_to_list(request, page)


@require_POST
@login_required
@retry_on_conflict
def view_add(request: HttpRequest) -> HttpResponse:
    """Save the list as it is. A view with the same name is replaced."""
    user: Any = request.user
    form = NewViewForm(request.POST, user=user)
    if form.is_valid() and save_view(user, form):
        view = form.instance
        messages.success(request, f"View “{view}” saved.")
        return redirect(view)
    if {"page", "query", "columns"} & form.errors.keys():
        raise BadRequest("This isn't a list that can be saved.")
    return render(request, "accounts/profile/view_form.html", {"title": "Save view", "form": form})


def save_view(user: Any, form: NewViewForm) -> bool:
    """False, with the reason in the form, if there are too many."""
    data = form.cleaned_data
    own = user.saved_views.filter(page=data["page"])
    if own.exclude(name=data["name"]).count() >= MAX_VIEWS:
        form.add_error("name", f"You have {MAX_VIEWS} views of this list. Delete one first.")
        return False
    values = {"query": data["query"], "columns": data["columns"] or None, "is_shared": data.get("is_shared", False)}
    form.instance, _ = SavedView.objects.update_or_create(
        user=user, page=data["page"], name=data["name"], defaults=values
    )
    return True


@require_safe
@login_required
def view_list(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    defaults = set(user.list_settings.values_list("default_view_id", flat=True))
    shown = [(PAGES.get(view.page, view.page), view, view.pk in defaults) for view in visible_views(user)]
    rows = sorted(shown, key=lambda row: (row[0], row[1].name))
    return render(request, "accounts/profile/views.html", {"title": "Saved views", "rows": rows})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@retry_on_conflict
def view_edit(request: HttpRequest, pk: int) -> HttpResponse:
    user: Any = request.user
    view = get_object_or_404(user.saved_views, pk=pk)
    form = ViewForm(request.POST if request.method == "POST" else None, instance=view, user=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, f"View “{view}” saved.")
        return redirect("account:views")
    return render(request, "accounts/profile/view_form.html", {"title": "Edit view", "form": form})


@require_POST
@login_required
@retry_on_conflict
def view_default(request: HttpRequest, pk: int) -> HttpResponse:
    """Make this the default view of the list, or stop doing so."""
    user: Any = request.user
    view = get_object_or_404(visible_views(user), pk=pk)
    setting, _ = ListSetting.objects.get_or_create(user=user, page=view.page)
    setting.default_view = None if setting.default_view_id == view.pk else view
    setting.save(update_fields=["default_view"])
    return redirect("account:views")


class DeleteView(Action):
    name, label, done, harmful = "delete", "Delete", "{} deleted.", True

    def may(self, user: Any, model: Any) -> bool:
        return True  # `get_queryset` only has the user's own views

    def effects(self, rows: Any) -> list[str]:
        shared = "This view is shared, so other staff will lose it too."
        return ["The rows it shows aren't deleted.", *([shared] if rows.filter(is_shared=True).exists() else [])]

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        return ActionOutcome(rows.delete()[1].get("accounts.SavedView", 0))


@method_decorator(login_required, name="dispatch")
class DeleteViewView(ActionView):
    action, shell, renderer = DeleteView(), "base/account.html", staticmethod(render)

    def get_queryset(self) -> Any:
        return SavedView.objects.filter(user=self.request.user.pk)

    def page_url(self, page: str, row: Any = None) -> str:
        return reverse("account:views")


def back_to_list(request: HttpRequest, page: str) -> HttpResponseRedirect:
    """Redirect to the page the user came from, or to the list."""
    return HttpResponseRedirect(local_url(request, request.POST.get("next", ""), reverse(page)))
