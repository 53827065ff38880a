"""The pages of a key's life, for holders and staff alike: `desk` says whose keys these are and in which shell they show.

A secret is shown in the answer to the POST that made it and nowhere else: no redirect, no session, no message.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from apikeys import services
from apikeys.models import APIKey
from apikeys.pages.desks import Desk
from apikeys.pages.forms import CreateKeyForm, ExpiryForm, RevokeForm, RotateForm
from apikeys.pages.rows import key_rows
from config.base.history import Author


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """Put what a service refused at the fields it names, as far as the form has them."""
    if hasattr(error, "error_dict"):
        for field, errors in error.error_dict.items():
            form.add_error(field if field in form.fields else None, errors)
    else:
        form.add_error(None, error)


@sensitive_variables()
def secret_page(desk: Desk, key: APIKey, secret: str, title: str) -> HttpResponse:
    response = desk.page("apikeys/pages/secret.html", key=key, secret=secret, title=title)
    response["Cache-Control"] = "no-store, max-age=0"
    response["Referrer-Policy"] = "no-referrer"
    return response


@sensitive_variables()
def create_key(desk: Desk, form: CreateKeyForm, owner: Any = None) -> HttpResponse:
    """Show the form, or make the key it asks for and show its secret. `owner` None: the form has the field."""
    if form.is_bound and form.is_valid():
        made = APIKey.objects.filter(pk=form.cleaned_data["form_token"]).first()
        if made is not None:
            return made_already(desk, made)
        try:
            return issue(desk, form, owner or form.cleaned_data["owner"])
        except ValidationError as error:
            add_errors(form, error)
        except IntegrityError:
            # The same form, sent twice at once: the other request has made the key.
            return made_already(desk, APIKey.objects.get(pk=form.cleaned_data["form_token"]))
    return desk.page("apikeys/pages/key_form.html", form=form, owner=owner, title="New API key", status=status_of(form))


@sensitive_variables()
def issue(desk: Desk, form: CreateKeyForm, owner: Any) -> HttpResponse:
    desk.check_may_manage(owner, "create")
    key, secret = services.issue_key(owner, desk.author, **form.settings())
    return secret_page(desk, key, secret, f"The secret of “{key.name}”")


def made_already(desk: Desk, key: APIKey) -> HttpResponse:
    desk.check_may_manage(key.user, "create")
    return desk.page("apikeys/pages/made_already.html", key=key, title="This key exists already", status=409)


def status_of(form: forms.Form) -> int:
    return 400 if form.is_bound else 200


def done(desk: Desk, key: APIKey, text: str) -> HttpResponse:
    messages.success(desk.request, text)
    return redirect(desk.url("detail", key))


def told_why_not(desk: Desk, key: APIKey, step: str) -> HttpResponse | None:
    """For whoever opens the page of a step that the key doesn't allow (any more): back to the key, with the reason."""
    reason = services.why_not(key, step) if desk.request.method != "POST" else ""
    if not reason:
        return None
    messages.error(desk.request, reason)
    return redirect(desk.url("detail", key))


@sensitive_variables()
def rotate_key(desk: Desk, key_id: UUID) -> HttpResponse:
    key = desk.find(key_id)
    desk.check_may_manage(key.user, "rotate")
    if refused := told_why_not(desk, key, "rotate"):
        return refused
    form = RotateForm(desk.request.POST if desk.request.method == "POST" else None, key=key)
    if form.is_bound and form.is_valid():
        try:
            secret = services.rotate_key(key, desk.author, grace=form.cleaned_data["grace"])
        except ValidationError as error:
            add_errors(form, error)
        else:
            return secret_page(desk, key, secret, f"The new secret of “{key.name}”")
    return step_page(desk, key, form, "rotate", "Rotate “{}”")


class Step(NamedTuple):
    """Something that is done to a key after a page has said what will happen."""

    name: str
    title: str
    said: str
    form: Callable[[APIKey, Any], forms.Form]
    act: Callable[[APIKey, Author, dict[str, Any]], None]


def plain_form(key: APIKey, data: Any) -> forms.Form:
    return forms.Form(data)


def revoke(key: APIKey, author: Author, data: dict[str, Any]) -> None:
    services.revoke_key(key, author, reason=data["reason"])


def shorten(key: APIKey, author: Author, data: dict[str, Any]) -> None:
    services.shorten_expiry(key, author, expires_at=data["expires_at"])


def disable(key: APIKey, author: Author, data: dict[str, Any]) -> None:
    services.set_enabled(key, author, enabled=False)


def enable(key: APIKey, author: Author, data: dict[str, Any]) -> None:
    services.set_enabled(key, author, enabled=True)


PLAIN_STEPS = (
    Step(
        "revoke",
        "Revoke “{}”",
        "“{}” is revoked: no request with it is let through any more.",
        lambda _key, data: RevokeForm(data),
        revoke,
    ),
    Step(
        "expire",
        "Bring forward the expiry of “{}”",
        "The expiry of “{}” is brought forward.",
        lambda key, data: ExpiryForm(data, key=key),
        shorten,
    ),
    Step("disable", "Disable “{}”", "“{}” is disabled: it is refused until somebody enables it.", plain_form, disable),
    Step("enable", "Enable “{}”", "“{}” is enabled again.", plain_form, enable),
)


def take(step: Step, desk: Desk, key_id: UUID) -> HttpResponse:
    """A page that says what will happen and asks once; sent, it happens."""
    key = desk.find(key_id)
    desk.check_may_manage(key.user, step.name)
    if refused := told_why_not(desk, key, step.name):
        return refused
    form = step.form(key, desk.request.POST if desk.request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            step.act(key, desk.author, form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        else:
            return done(desk, key, step.said.format(key.name))
    return step_page(desk, key, form, step.name, step.title)


def step_page(desk: Desk, key: APIKey, form: forms.Form, name: str, title: str) -> HttpResponse:
    use = key_rows([key])[0].use
    context = {"key": key, "form": form, "step": name, "title": title.format(key.name), "use": use}
    return desk.page("apikeys/pages/step.html", status=status_of(form), **context)


STEPS: dict[str, Callable[[Desk, UUID], HttpResponse]] = {
    "rotate": rotate_key,
    **{step.name: partial(take, step) for step in PLAIN_STEPS},
}


def at(desk: type[Desk], view: Callable[[Desk, UUID], HttpResponse]) -> Callable[..., HttpResponse]:
    """`view` as a view of Django's at that kind of desk."""

    @require_http_methods(["GET", "HEAD", "POST"])
    def served(request: HttpRequest, key_id: UUID) -> HttpResponse:
        return view(desk(request), key_id)

    return served
