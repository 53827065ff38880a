"""Everyone's keys, beside their list and pages in the admin."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_safe

from apikeys import services
from apikeys.decision.imported import SlowHashesBusyError, take_over
from apikeys.models import APIKey, APIKeyQuerySet
from apikeys.pages import hygiene
from apikeys.pages.actions import BULK_ACTIONS, Disable
from apikeys.pages.forms import FindForm, KeyForm, StaffCreateKeyForm, StaffKeyForm
from apikeys.pages.mixins import StaffKeysMixin
from apikeys.pages.rows import EXPORTED, export_keys, key_rows
from apikeys.pages.views import CreateKeyView, EditKeyView, KeyActionView, status_of
from config.base.actions import SelectionView
from config.base.filters import FilterBarBuilder, SearchForm, query_without
from config.base.paginator import rows_per_page
from config.base.views import staff_required


def search_of(request: HttpRequest) -> SearchForm:
    return SearchForm(request.GET, nouns="these keys")


@method_decorator([require_safe, staff_required("apikeys.view_apikey")], name="dispatch")
class HygieneView(StaffKeysMixin, View):
    def get(self, request: HttpRequest) -> HttpResponse:
        chosen = hygiene.problem(request.GET.get("show", "")) or hygiene.PROBLEMS[0]
        search = search_of(request)
        lists = {problem.slug: problem.keys().matching(search.text) for problem in hygiene.PROBLEMS}
        keys = lists[chosen.slug].select_related("user").prefetch_related("permissions").order_by("last_used_at", "pk")
        page = Paginator(keys, rows_per_page(request)).get_page(request.GET.get("page"))
        permissions = chosen.permissions([key.pk for key in page]) if chosen.permissions else {}
        return self.page(
            "apikeys/pages/hygiene.html",
            problems=[(problem, lists[problem.slug].count()) for problem in hygiene.PROBLEMS],
            chosen=chosen,
            bar=FilterBarBuilder(search, request.GET).build(search="q"),
            query=query_without(request.GET, "show"),
            page=page,
            rows=[(row, permissions.get(row.key.pk, [])) for row in key_rows(page)],
            bulk_actions=[
                (action.name, action.label)
                for action in BULK_ACTIONS
                if action.may(request.user, APIKey) and (chosen.slug == "unexercised" or action.name != "trim")
            ],
            title="Key hygiene",
        )


class StaffActionView(StaffKeysMixin, KeyActionView):
    pass


class StaffKeyView(StaffKeysMixin, EditKeyView):
    """The page of a key in the admin: its facts, then the form if it can be changed."""

    form_class = StaffKeyForm
    template_name = "apikeys/pages/staff_key.html"
    via = "admin"
    may_edit = may_delete = may_restore = False

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        return self.show(key, self.form_class(key=key) if self.may_edit else None)

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        if key.deleted_at is not None:
            return self.refuse(key, "This API key has been deleted. Nothing was saved.")
        if reason := services.why_not(key, "edit"):
            return self.refuse(key, f"{reason} Nothing was saved.")
        if not self.may_edit:
            raise PermissionDenied
        return super().post(request, key_id)

    def show(self, key: APIKey, form: KeyForm | None) -> HttpResponse:
        return self.page(
            self.template_name,
            status_of(form) if form is not None else 200,
            form=form,
            key=key,
            row=key_rows([key])[0],
            title=key.name,
            may_delete=self.may_delete,
            may_restore=self.may_restore,
        )


class StaffCreateView(StaffKeysMixin, CreateKeyView):
    form_class = StaffCreateKeyForm


class KeyBulkView(StaffKeysMixin, SelectionView):
    http_method_names = ["get", "head", "post"]
    template_name = "base/confirm.html"
    invalid_status = 400
    model = APIKey
    actions = BULK_ACTIONS

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not Disable().may(request.user, APIKey):
            raise PermissionDenied
        return (
            redirect(self.page_url("list")) if request.method != "POST" else super().dispatch(request, *args, **kwargs)
        )

    def get_queryset(self) -> APIKeyQuerySet:
        # `everything` is the name of a list of the hygiene page.
        found = hygiene.problem(self.data["everything"])
        keys = (
            found.keys().matching(search_of(self.request).text)
            if found
            else super().get_queryset().filter(pk__in=self.data["pk"])
        )
        return keys.select_related("user").order_by("name", "pk")

    def export(self, file_format: str) -> HttpResponseBase:
        return export_keys(self.request, file_format, self.get_queryset(), EXPORTED)


class FindKeyView(StaffKeysMixin, View):
    """Find a key by its whole secret, which is sent in the body: never in a URL, never shown again."""

    @method_decorator([sensitive_post_parameters("secret"), sensitive_variables()])
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not request.user.has_perm("apikeys.view_apikey") and not request.user.has_perm("apikeys.change_apikey"):
            raise PermissionDenied
        form = FindForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                take_over(form.cleaned_data["secret"])
            except SlowHashesBusyError:
                form.add_error(
                    "secret", "Too many secrets are being checked at the moment. Try again in a few seconds."
                )
        if form.is_valid():
            key = APIKey.objects.with_secret(form.cleaned_data["secret"]).first()
            if key is not None:
                return redirect(self.page_url("detail", key))
            form.add_error("secret", "No key has this secret, or had it before its last rotation.")
        return self.page("apikeys/pages/find.html", status_of(form), form=form, title="Find a key by its secret")
