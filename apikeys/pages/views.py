"""Pages that owners and staff share: create a key, edit it, and do something with one.

A secret is only ever in the response to the POST that creates it: no redirect, session or message has it.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.debug import sensitive_variables

from apikeys import services
from apikeys.models import APIKey, GatewayTest
from apikeys.pages.actions import Rotated
from apikeys.pages.forms import CreateKeyForm, KeyForm
from apikeys.pages.mixins import KeysMixin
from config.base.actions import ActionForm, ActionOutcome, ActionView, add_errors
from config.base.history import Author
from config.base.undo import FORMER, new_operation, offer_undo


@sensitive_variables()
def secret_page(view: KeysMixin, key: APIKey, secret: str, title: str) -> HttpResponse:
    shown: dict[str, Any] = {"key": key, "secret": secret, "title": title, "api_url": GatewayTest.objects.api_url()}
    response = view.page("apikeys/pages/secret.html", **shown)
    response["Cache-Control"] = "no-store, max-age=0"
    response["Referrer-Policy"] = "no-referrer"
    return response


def status_of(form: forms.Form) -> int:
    return 400 if form.is_bound else 200


class KeyActionView(KeysMixin, ActionView):
    template_name = "apikeys/pages/confirm.html"
    invalid_status = 400

    def unfit(self) -> HttpResponse:
        if self.request.method != "POST":
            return super().unfit()
        return self.ask(ActionForm(), count=0, status=400, obstacle=self.action.why_unfit(self.row))

    def succeed(self, outcome: ActionOutcome) -> HttpResponse:
        if isinstance(outcome, Rotated):
            return secret_page(self, self.row, outcome.secret, f"New secret of “{self.row.name}”")
        return super().succeed(outcome)


class CreateKeyView(KeysMixin, View):
    http_method_names = ["get", "head", "post"]
    form_class = CreateKeyForm

    @method_decorator(sensitive_variables())
    def get(self, request: HttpRequest) -> HttpResponse:
        form = self.form_class(request.POST if request.method == "POST" else None, creator=request.user)
        form.initial["owner"] = request.GET.get("user", "")[:254]
        if form.is_valid():
            key_id = form.cleaned_data["form_token"]
            created = APIKey.objects.filter(pk=key_id).first()
            try:
                return self.show_created(created) if created else self.create(form)
            except ValidationError as error:
                add_errors(form, error)
            except IntegrityError:
                # The same form, sent twice at once: the other request created the key.
                return self.show_created(APIKey.objects.get(pk=key_id))
        return self.page("apikeys/pages/key_form.html", status_of(form), form=form, title="Create API key")

    post = get

    @method_decorator(sensitive_variables())
    def create(self, form: CreateKeyForm) -> HttpResponse:
        owner, author = form.cleaned_data.get("owner", self.request.user), Author(self.request.user, self.request)
        key, secret = services.issue_key(owner, author, **form.settings())
        return secret_page(self, key, secret, f"Secret of “{key.name}”")

    def show_created(self, key: APIKey) -> HttpResponse:
        return self.page("apikeys/pages/already_created.html", 409, key=key, title="This key was already created")


class EditKeyView(KeysMixin, View):
    http_method_names = ["get", "head", "post"]
    form_class = KeyForm
    template_name = "apikeys/pages/key_form.html"
    via = ""  # for the history

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        reason = services.why_not(key, "edit")
        return self.refuse(key, reason) if reason else self.show(key, self.form_class(key=key))

    def refuse(self, key: APIKey, reason: str) -> HttpResponse:
        messages.error(self.request, reason)
        return redirect(self.page_url("detail", key))

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self.get_object()
        with transaction.atomic():
            services.lock(key)
            locked = self.get_object()
            form = self.form_class(request.POST, key=locked)
            if form.is_valid():
                try:
                    author = Author(request.user, request, self.via, new_operation())
                    services.edit_key(locked, author, **form.settings())
                except ValidationError as error:
                    add_errors(form, error)
                else:
                    return self.saved(locked, author)
        return self.show(key, form)

    def saved(self, key: APIKey, author: Author) -> HttpResponse:
        if author.written:
            offer_undo(self.request, f"API key “{key.name}” saved.", author, FORMER, self.page_url("undo"))
        else:
            messages.info(self.request, "Nothing changed.")
        return redirect(self.page_url("detail", key))

    def show(self, key: APIKey, form: KeyForm) -> HttpResponse:
        return self.page(self.template_name, status_of(form), form=form, key=key, title=f"Edit “{key.name}”")
