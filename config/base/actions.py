"""Actions on one row or many: a page says what will happen and asks once, and a message says what happened.

An `Action` defines what it does to which rows. An `ActionView` asks about one row, a `BulkActionView` about many. An
`UndoView` reverses an action with another one, without asking again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.views import View
from django.views.decorators.http import require_POST

from config.base.export import FORMATS
from config.base.history import Author
from config.base.text import counted
from config.base.undo import MAX_ROWS, Operation, new_operation, offer_undo, read_token, why_changed
from config.base.views import retry_on_conflict, staff_render

MAX_LISTED = 20
MAX_REASONS = 5


@dataclass
class ActionOutcome:
    """How many rows were changed, and why others were not."""

    done: int = 0
    refused: list[str] = field(default_factory=list)


class ActionForm(forms.Form):
    def __init__(self, data: Any = None, *, row: Any = None, **options: Any) -> None:
        """row: None for many."""
        self.row = row
        super().__init__(data, **options)
        # Bound fields would keep their labels, which subclasses still set.
        first = next((field for field in self.fields.values() if not field.widget.is_hidden), None)
        if first is not None:
            first.widget.attrs["autofocus"] = True


class Action:
    # In URLs and forms.
    name = ""
    label = ""
    # "Sign {} out everywhere"; empty: the label and "{}".
    phrase = ""
    # "{} suspended."
    done = ""
    # The name of the action that reverses it, for the UndoView at page_url("undo").
    undo = ""
    harmful = False
    # Any of them is enough; without the model.
    permissions: Sequence[str] = ("change",)
    # The queryset method that finds the rows this would change.
    matching = "all"
    max_at_once: int | None = 5_000
    # What will happen, as far as it's the same for all rows.
    sentences: Sequence[str] = ()
    form_class: type[ActionForm] = ActionForm

    def may(self, user: Any, model: Any) -> bool:
        """Whether `user` may do this to some rows of the model; `allowed` says to which."""
        app, name = model._meta.app_label, model._meta.model_name
        return any(user.has_perm(f"{app}.{permission}_{name}") for permission in self.permissions)

    def allowed(self, user: Any, rows: Any) -> Any:
        return rows

    def why_not(self, user: Any, row: Any) -> str:
        """Why `allowed` leaves the row out, as a sentence."""
        return ""

    def fits(self, rows: Any) -> Any:
        return getattr(rows, self.matching)()

    def why_unfit(self, row: Any) -> str:
        return f"Nothing to do: {row._meta.verbose_name} “{row}” is {row.state}."

    def effects(self, rows: Any) -> Sequence[str]:
        """The `sentences`, and others with numbers."""
        return self.sentences

    def obstacle(self, rows: Any) -> str:
        """Why this can't be done, as a sentence; the page shows it instead of the button."""
        return ""

    def notes(self, rows: Sequence[Any]) -> Iterable[str]:
        """What a list of the rows says about each."""
        return ("" for _ in rows)

    # Takes the rows, the author and the form's data or, to undo another action, its `operation`. Raises
    # ValidationError if nothing can be done.
    perform: Callable[[Any, Author, dict[str, Any]], ActionOutcome]

    def applied_to(self, what: str) -> str:
        return (self.phrase or f"{self.label} {{}}").replace("{}", what)


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """Add the errors to the fields they name, as far as the form has them."""
    for name, errors in error.update_error_dict({}).items():
        form.add_error(name if name in form.fields else None, errors)


class ActionView(View):
    http_method_names = ["get", "head", "post"]
    template_name = "base/confirm.html"
    shell = "base/staff.html"
    renderer: Any = staticmethod(staff_render)
    invalid_status = 200  # for a form with errors
    via = ""  # for the history
    action: Any = None
    row: Any = None
    rows: Any = None
    get_queryset: Callable[[], Any]
    # Of "list", "detail", "undo" or the name of an action; and the row, if there is one.
    page_url: Callable[..., str]

    def get_object(self) -> Any:
        return get_object_or_404(self.get_queryset(), pk=self.kwargs["pk"])

    def get_list_url(self) -> str:
        return self.page_url("list")

    def get_success_url(self) -> str:
        return self.get_list_url() if self.row is None else self.page_url("detail", self.row)

    def may(self) -> bool:
        return bool(self.action.may(self.request.user, self.get_queryset().model))

    def allowed(self, rows: Any) -> Any:
        return self.action.allowed(self.request.user, rows)

    @method_decorator(retry_on_conflict)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        # Before the row is looked up: without permission, you can't find out which exist.
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
        form = self.action.form_class(request.POST if request.method == "POST" else None, row=self.row)
        return self.perform(form) or self.ask(form, count=1)

    post = get

    def unfit(self) -> HttpResponse:
        messages.info(self.request, self.action.why_unfit(self.row))
        return redirect(self.page_url("detail", self.row))

    def perform(self, form: forms.Form) -> HttpResponse | None:
        """Do it if the form is valid; None, with the reasons in the form, if that's impossible."""
        if not form.is_valid():
            return None
        try:
            self.author = Author(self.request.user, self.request, self.via, new_operation() if self.action.undo else "")
            outcome = self.action.perform(self.rows, self.author, form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
            return None
        if self.row is not None and outcome.refused:
            form.add_error(None, outcome.refused)
            return None
        return self.succeed(outcome)

    def succeed(self, outcome: ActionOutcome) -> HttpResponse:
        if outcome.done:
            self.tell(self.action.done.replace("{}", self.named(outcome.done)))
        elif not outcome.refused:
            messages.info(self.request, "Nothing changed.")
        for reason in outcome.refused[:MAX_REASONS]:
            messages.error(self.request, reason)
        if (more := len(outcome.refused) - MAX_REASONS) > 0:
            messages.error(self.request, f"{self.named(more)} more couldn't be changed for similar reasons.")
        return redirect(self.get_success_url())

    def tell(self, text: str) -> None:
        text = capfirst(text)
        if self.action.undo and 0 < len(self.author.written) <= MAX_ROWS:
            offer_undo(self.request, text, self.author, self.action.undo, self.page_url("undo"))
        else:
            messages.success(self.request, text)

    def named(self, count: int) -> str:
        opts = self.rows.model._meta
        if self.row is not None:
            return f"{opts.verbose_name} “{self.row}”"
        return counted(count, str(opts.verbose_name), str(opts.verbose_name_plural))

    def ask(self, form: forms.Form, count: int, status: int = 0, **context: Any) -> HttpResponse:
        opts, action = self.rows.model._meta, self.action
        noun = str(opts.verbose_name) if self.row is not None else self.named(count)
        context = {
            "title": f"{action.applied_to(self.named(count))}?" if count else action.label,
            "button": action.label if self.row is not None and action.phrase else action.applied_to(noun),
            "shell": self.shell,
            "action": action,
            "row": self.row,
            "section": capfirst(opts.verbose_name_plural),
            "list_url": self.get_list_url(),
            "back_url": ActionView.get_success_url(self),
            "count": count,
            "nouns": f"{opts.verbose_name},{opts.verbose_name_plural}",
            "effects": action.effects(self.rows) if count else (),
            "obstacle": action.obstacle(self.rows),
            "form": form,
            **context,
        }
        status = status or (self.invalid_status if form.errors else 200)
        response: HttpResponse = self.renderer(self.request, self.template_name, context, status=status)
        return response


class BulkActionView(ActionView):
    """Many rows, chosen in a list. The first POST asks; another one with their number as `expected` does it.

    Both send the fields in `selection`, by which `get_queryset` finds the rows.
    """

    http_method_names = ["post"]
    selection: Sequence[str] = ()

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
        form = self.action.form_class(request.POST if confirmed else None)
        return self.perform(form) or self.ask(
            form, count, has_changed=expected and not confirmed, **self.selected(chosen, fitting, count)
        )

    def selected(self, chosen: Any, fitting: Any, count: int) -> dict[str, Any]:
        listed = list(self.rows[:MAX_LISTED])
        forbidden = fitting.exclude(pk__in=self.rows.order_by().values("pk"))
        first = forbidden.first()
        return {
            "selection": [(name, value) for name in self.selection for value in self.request.POST.getlist(name)],
            "listed": [
                (self.page_url("detail", row), row, note)
                for row, note in zip(listed, self.action.notes(listed), strict=True)
            ],
            "more": max(0, count - MAX_LISTED),
            "unfit": chosen.count() - fitting.count(),
            "forbidden": forbidden.count(),
            "reason": self.action.why_not(self.request.user, first) if first else "",
        }


class Undoing:
    """Undoes what an operation did to rows of the `queryset`, with `action`."""

    def __init__(
        self, action: Action, operation: Operation, queryset: Any, author: Author, allowed: Any = None
    ) -> None:
        """allowed: which of some rows the author may change, if not those that the action allows."""
        self.action, self.operation, self.author = action, operation, author
        model = queryset.model
        self.entries, self.changed = operation.of(model), operation.changed_since(model)
        self.present = queryset.filter(pk__in=self.entries)
        self.fitting = action.fits(self.present.filter(pk__in=self.entries.keys() - self.changed.keys()))
        self.rows = allowed(self.fitting) if allowed else action.allowed(author.user, self.fitting)

    def run(self) -> ActionOutcome:
        outcome = ActionOutcome(refused=list(self.reasons()))
        if not self.rows.exists():
            return outcome
        try:
            done = self.action.perform(self.rows, self.author, {"operation": self.operation})
        except ValidationError as error:
            outcome.refused.extend(error.messages)
        else:
            outcome.done += done.done
            outcome.refused.extend(done.refused)
        return outcome

    def reasons(self) -> Iterable[str]:
        """Why some of the rows can't be undone."""
        taken, fit = (set(map(str, rows.values_list("pk", flat=True))) for rows in (self.rows, self.fitting))
        left = {pk: entry.object_repr for pk, entry in self.entries.items() if pk not in taken}
        rows = {str(row.pk): row for row in self.present.filter(pk__in=left)}
        for pk, name in left.items():
            if pk not in rows:
                yield f"“{name}” no longer exists."
            elif pk in self.changed:
                yield why_changed(self.changed[pk])
            elif pk in fit:
                yield self.action.why_not(self.author.user, rows[pk])
            else:
                yield self.action.why_unfit(rows[pk])


@method_decorator(require_POST, name="dispatch")
class UndoView(ActionView):
    """Undoes the changes that the token names, with the permission checks of the action that undoes them."""

    undo_actions: Sequence[Action] = ()
    operation: Operation

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        token = read_token(request.POST.get("token", ""), request.user)
        self.action = next((action for action in self.undo_actions if token and action.name == token.action), None)
        if token is None or self.action is None:
            messages.error(request, "You can no longer undo this. You can undo your own changes for an hour.")
            return redirect(self.get_list_url())
        self.operation = Operation(token)
        return super().dispatch(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        self.author = Author(self.request.user, self.request, "undo")
        undoing = Undoing(self.action, self.operation, self.get_queryset(), self.author, self.allowed)
        self.row = undoing.present.first() if len(undoing.entries) == 1 else None
        outcome = undoing.run()
        self.rows = undoing.rows
        if self.row is not None:
            self.row.refresh_from_db()  # for its name
        return self.succeed(outcome)

    def tell(self, text: str) -> None:
        messages.success(self.request, f"Undone: {text}")


class SelectionForm(forms.Form):
    """An action or an export, and the rows: those that are selected, or `everything` that a list finds."""

    action = forms.ChoiceField(error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose an action."))
    export = forms.ChoiceField(choices=list(FORMATS.items()), required=False)
    everything = forms.CharField(required=False)
    pk = forms.Field(required=False, widget=forms.MultipleHiddenInput)

    def __init__(self, data: Any, *, model: Any, actions: Iterable[Action]) -> None:
        super().__init__(data)
        self.model = model
        self.fields["action"].choices = [(action.name, action.label) for action in actions]  # type: ignore[attr-defined]
        self.fields["action"].required = not self.data.get("export")

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


class SelectionView(BulkActionView):
    """The first POST chooses one of the `actions`, too, or the format of a file."""

    selection: Sequence[str] = ("action", "everything", "pk")
    selection_form = SelectionForm
    model: Any = None
    actions: Sequence[Action] = ()
    # Takes the name of a format, and answers with a file of the rows.
    export: Callable[[str], HttpResponseBase]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = self.selection_form(request.POST, model=self.model, actions=self.actions)
        if not form.is_valid():
            messages.error(request, str(next(iter(form.errors.values()))[0]))
            return redirect(self.get_list_url())
        self.data = form.cleaned_data
        if self.data["export"]:
            return self.export(self.data["export"])
        self.action = self.get_action()
        return super().dispatch(request, *args, **kwargs)

    def get_action(self) -> Action:
        return next(action for action in self.actions if action.name == self.data["action"])
