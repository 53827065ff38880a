"""Actions on one row or many: a page says what will happen and asks once; then it happens, and a message says so.

An `Action` knows what it does to which rows. An `ActionView` asks about one row, a `BulkActionView` about many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.html import format_html
from django.utils.text import capfirst
from django.views import View

from config.base.history import Author
from config.base.text import counted
from config.base.views import staff_render

MAX_LISTED = 20
REASONS_SHOWN = 5


@dataclass
class Outcome:
    """How many rows were changed, and why others were not."""

    done: int = 0
    refused: list[str] = field(default_factory=list)


class Action:
    # In URLs and forms.
    name = ""
    label = ""
    # The codename without the model: "change" or "delete".
    permission = "change"
    # "Sign {} out everywhere"; empty: "LABEL {}".
    phrase = ""
    # "{} suspended."
    done = ""
    # The name of the action that takes it back.
    undo = ""
    harmful = False
    max_at_once: int | None = 5_000
    form_class = forms.Form

    def may(self, user: Any, model: Any) -> bool:
        """Whether `user` may do this to some rows of the model; `allowed` says to which."""
        return bool(user.has_perm(f"{model._meta.app_label}.{self.permission}_{model._meta.model_name}"))

    def allowed(self, user: Any, rows: Any) -> Any:
        return rows

    def why_not(self, user: Any, row: Any) -> str:
        """Why `allowed` leaves the row out, as a sentence."""
        return ""

    def fits(self, rows: Any) -> Any:
        """The rows that this would change."""
        return rows

    def why_unfit(self, row: Any) -> str:
        return f"Nothing to do: {row._meta.verbose_name} “{row}” is {row.state}."

    def effects(self, rows: Any) -> Sequence[str]:
        """What will happen, in sentences with numbers."""
        return ()

    def obstacle(self, rows: Any) -> str:
        """Why this can't be done, as a sentence; the page shows it instead of the button."""
        return ""

    def note(self, row: Any) -> str:
        """What a list of the rows says about this one."""
        return ""

    def get_form(self, data: Any, row: Any) -> forms.Form:
        """row: None for many."""
        return self.form_class(data)

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> Outcome:
        """data: what the form asks for. Raises ValidationError if nothing can be done."""
        raise NotImplementedError

    def applied_to(self, what: str) -> str:
        return (self.phrase or f"{self.label} {{}}").replace("{}", what)


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """Add the errors to the fields they name, as far as the form has them."""
    for name, errors in error.update_error_dict({}).items():
        form.add_error(name if name in form.fields else None, errors)


class ActionView(View):
    """Subclasses say which rows there are, and where their pages are."""

    http_method_names = ["get", "head", "post"]
    template_name = "base/confirm.html"
    action: Any = None
    row: Any = None
    rows: Any = None
    invalid_status = HTTPStatus.OK

    def get_action(self) -> Action:
        action: Action = self.action
        return action

    def get_queryset(self) -> Any:
        raise NotImplementedError

    def get_object(self) -> Any:
        return get_object_or_404(self.get_queryset(), pk=self.kwargs["pk"])

    def get_list_url(self) -> str:
        raise NotImplementedError

    def get_url(self, row: Any) -> str:
        return str(row.get_absolute_url())

    def get_success_url(self) -> str:
        return self.get_url(self.row)

    def get_action_url(self, name: str) -> str:
        """The page that does another action to this row."""
        raise NotImplementedError

    def get_author(self) -> Author:
        return Author(self.request.user, self.request)

    def may(self) -> bool:
        return bool(self.action.may(self.request.user, self.get_queryset().model))

    def allowed(self, rows: Any) -> Any:
        return self.action.allowed(self.request.user, rows)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.action = self.get_action()
        if not self.may():
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        self.row = self.get_object()
        row = self.get_queryset().filter(pk=self.row.pk)
        if not self.allowed(row).exists():
            raise PermissionDenied
        self.rows = self.action.fits(row)
        if not self.rows.exists():
            return self.unfit()
        form = self.action.get_form(request.POST if request.method == "POST" else None, self.row)
        return (self.perform(form) if form.is_valid() else None) or self.ask(form, count=1)

    post = get

    def unfit(self) -> HttpResponse:
        messages.info(self.request, self.action.why_unfit(self.row))
        return redirect(self.get_url(self.row))

    def perform(self, form: forms.Form) -> HttpResponse | None:
        """Do it; None, with the reasons in the form, if it was refused."""
        try:
            outcome = self.action.perform(self.rows, self.get_author(), form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
            return None
        if self.row is not None and outcome.refused:
            form.add_error(None, outcome.refused)
            return None
        self.tell(outcome)
        return redirect(self.get_success_url())

    def tell(self, outcome: Outcome) -> None:
        if outcome.done:
            text = capfirst(self.action.done.replace("{}", self.named(outcome.done)))
            if self.row is not None and self.action.undo:
                text = format_html('{} <a href="{}">Undo</a>', text, self.get_action_url(self.action.undo))
            messages.success(self.request, text)
        elif not outcome.refused:
            messages.info(self.request, "Nothing changed.")
        for reason in outcome.refused[:REASONS_SHOWN]:
            messages.error(self.request, reason)
        if (more := len(outcome.refused) - REASONS_SHOWN) > 0:
            messages.error(self.request, f"{self.named(more)} more couldn't be changed for similar reasons.")

    def named(self, count: int) -> str:
        opts = self.rows.model._meta
        if self.row is not None:
            return f"{opts.verbose_name} “{self.row}”"
        return counted(count, str(opts.verbose_name), str(opts.verbose_name_plural))

    def ask(self, form: forms.Form, count: int, **context: Any) -> HttpResponse:
        opts, action = self.rows.model._meta, self.action
        context = {
            "title": f"{action.applied_to(self.named(count))}?" if count else action.label,
            "button": action.applied_to(str(opts.verbose_name) if self.row is not None else self.named(count)),
            "action": action,
            "row": self.row,
            "section": capfirst(opts.verbose_name_plural),
            "list_url": self.get_list_url(),
            "back_url": self.get_url(self.row) if self.row is not None else self.get_list_url(),
            "count": count,
            "nouns": f"{opts.verbose_name},{opts.verbose_name_plural}",
            "effects": action.effects(self.rows) if count else (),
            "obstacle": action.obstacle(self.rows),
            "form": form,
            **context,
        }
        return self.render(context, self.invalid_status if form.errors else HTTPStatus.OK)

    def render(self, context: dict[str, Any], status: int) -> HttpResponse:
        return staff_render(self.request, self.template_name, {"shell": "base/staff.html", **context}, status)


class BulkActionView(ActionView):
    """Many rows, chosen in a list. The first POST asks; another with the number of rows as `expected` does it.

    Both send the fields in `selection`, by which `get_queryset` finds the rows.
    """

    http_method_names = ["post"]
    selection: Sequence[str] = ()

    def get_success_url(self) -> str:
        return self.get_list_url()

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        chosen = self.get_queryset()
        fitting = self.action.fits(chosen)
        self.rows = self.allowed(fitting)
        count, most = self.rows.count(), self.action.max_at_once
        if most is not None and count > most:
            messages.error(request, f"Select at most {self.named(most)} at once. Narrow the list with filters.")
            return redirect(self.get_list_url())
        # Django's own confirmation pages send `post` instead: everything that's selected.
        expected = request.POST.get("expected") or (str(chosen.count()) if "post" in request.POST else "")
        confirmed = expected == str(count) != "0"
        form = self.action.get_form(request.POST if confirmed else None, None)
        if form.is_valid() and (response := self.perform(form)):
            return response
        forbidden = fitting.exclude(pk__in=self.rows.order_by().values("pk"))
        return self.ask(
            form,
            count,
            selected=[(name, value) for name in self.selection for value in request.POST.getlist(name)],
            listed=[(self.get_url(row), row, self.action.note(row)) for row in self.rows[:MAX_LISTED]],
            more=max(0, count - MAX_LISTED),
            unfit=chosen.count() - fitting.count(),
            forbidden=forbidden.count(),
            reason=self.action.why_not(request.user, row) if (row := forbidden.first()) else "",
            has_changed=expected and not confirmed,
        )


class SelectionForm(forms.Form):
    """An action, and the rows: those that are ticked, or `everything` that a list finds."""

    action = forms.ChoiceField(error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose an action."))
    everything = forms.CharField(required=False)
    pk = forms.Field(required=False, widget=forms.MultipleHiddenInput)

    def __init__(self, data: Any, *, model: Any, actions: Iterable[Action]) -> None:
        super().__init__(data)
        self.model = model
        self.fields["action"].choices = [(action.name, action.label) for action in actions]  # type: ignore[attr-defined]

    def clean_pk(self) -> list[Any]:
        try:
            return [self.model._meta.pk.clean(value, None) for value in self.cleaned_data["pk"]]
        except ValidationError:
            raise ValidationError("One of the ids is invalid.") from None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("everything") and not data.get("pk"):
            raise ValidationError(f"Select {self.model._meta.verbose_name_plural} first.", code="nothing_selected")
        return data
