"""/users/<id>/limits/: a user's own rate limits, exceptions to those of their tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.rights import may_change, why_not_change
from accounts.staff.limit_views import offer_undo_of_limit
from accounts.staff.views import changeable_user
from config.base.actions import Action, ActionOutcome, ActionView, UndoView
from config.base.edits import PutBack
from config.base.forms import TimeField, TimeInput
from config.base.history import (
    ADDITION,
    CHANGE,
    DELETION,
    Author,
    Change,
    changes_between,
    former_values,
    initial_values,
    snapshot,
)
from config.base.stale import EditForm
from config.base.undo import Operation, new_operation
from config.base.views import retry_on_conflict, staff_render, staff_required
from ratelimits.models import RateLimit
from ratelimits.pages.forms import LimitForm
from ratelimits.services import COPIED_FIELDS


class OwnLimitForm(LimitForm):
    class Meta(LimitForm.Meta):
        fields: Sequence[str] = (*LimitForm.Meta.fields[:-1], "ends_at", "name")
        field_classes = {"ends_at": TimeField}
        widgets = {"ends_at": TimeInput()}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["limit" if self.initial.get("path") else "path"].widget.attrs["autofocus"] = True


class OwnLimitEditForm(EditForm, OwnLimitForm):
    pass


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("ratelimits.add_ratelimit")
@retry_on_conflict
def limit_add(request: HttpRequest, pk: int) -> HttpResponse:
    user = changeable_user(request, pk)
    form = OwnLimitForm(request.POST or None, instance=RateLimit(user=user), initial=initial_from_tier(request, user))
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            limit = form.save()
            record(Author(request.user, request), limit, ADDITION, "added", initial_values(limit))
        messages.success(request, f"Rate limit “{limit}” added. It applies to the next request.")
        return redirect("users:detail", user.pk)
    return limit_page(request, user, form, title="Add rate limit", button="Add rate limit")


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("ratelimits.change_ratelimit")
@retry_on_conflict
def limit_edit(request: HttpRequest, pk: int, limit_pk: int) -> HttpResponse:
    user = changeable_user(request, pk)
    limit = get_object_or_404(user.rate_limits.live(), pk=limit_pk)
    form = OwnLimitEditForm(request.POST or None, instance=limit)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            form.lock_row()
            form.save_changes()
            changes = changes_between(form.before, snapshot(limit))
            author = Author(request.user, request, operation=new_operation())
            if changes:
                record(author, limit, CHANGE, "edited", changes, former=former_values(form.loaded, limit))
        if changes:
            offer_undo_of_limit(request, f"Rate limit “{limit}” updated.", author, user)
        else:
            messages.info(request, "Nothing changed.")
        return redirect("users:detail", user.pk)
    return limit_page(request, user, form, title="Edit rate limit", button="Save rate limit")


def initial_from_tier(request: HttpRequest, user: User) -> dict[str, Any]:
    """The values of the tier's rate limit that `?from=ID` names, to change them for one user."""
    tier, chosen = user.effective_tier, request.GET.get("from", "")
    limits = tier.rate_limits.live() if tier else ()
    return next((forms.model_to_dict(limit, COPIED_FIELDS) for limit in limits if str(limit.pk) == chosen), {})


def limit_page(request: HttpRequest, user: User, form: forms.ModelForm[RateLimit], **context: Any) -> HttpResponse:
    return staff_render(request, "accounts/staff/limit_form.html", {"form": form, "person": user, **context})


def record(
    author: Author,
    limit: RateLimit,
    flag: int,
    verb: str,
    changes: Sequence[Change] = (),
    *,
    former: Mapping[str, Any] | None = None,
) -> None:
    """Write to the history of the limit and, as a sentence, to that of the user."""
    author.record(limit, flag, changes=changes, former=former)
    note_for_user(author, limit, verb)


def note_for_user(author: Author, limit: RateLimit, verb: str) -> None:
    note = f"Rate limit “{limit}” {verb}: {limit.summary}."
    author.record(cast("User", limit.user), CHANGE, note=note)


class EndLimit(Action):
    name, label, done, undo = "end", "End", "{} ended.", "restore"
    sentences = (
        "Starting with the next request, the tier's rate limits apply instead, or the default.",
        "You can restore it in the list of deleted rate limits.",
    )
    phrase = "End {}"
    harmful = True
    permissions = ("delete",)
    matching = "live"

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        with transaction.atomic():
            ended = list(rows.select_related("user"))
            rows.delete()
            for limit in ended:
                record(author, limit, DELETION, "ended")
        return ActionOutcome(len(ended))


class OwnLimitGuard(Action):
    def allowed(self, user: Any, rows: Any) -> Any:
        return rows.filter(user__in=User.objects.changeable_by(user))

    def why_not(self, user: Any, row: Any) -> str:
        return why_not_change(user, row.user)


class PutBackOwnLimit(OwnLimitGuard, PutBack):
    def put_back(self, row: Any, author: Author, operation: Operation) -> None:
        super().put_back(row, author, operation)
        note_for_user(author, row, "changed back")


class RestoreOwnLimit(OwnLimitGuard):
    """Only to undo the end of a limit."""

    name, label, done, matching = "restore", "Restore", "{} restored.", "deleted"
    permissions = ("delete",)

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        with transaction.atomic():
            restored = list(rows.select_related("user"))
            for limit in restored:
                limit.restore()
                record(author, limit, CHANGE, "restored")
        return ActionOutcome(len(restored))


class OwnLimitsMixin:
    kwargs: dict[str, Any]

    def get_queryset(self) -> Any:
        return RateLimit.objects.filter(user_id=self.kwargs["pk"]).select_related("user")

    def page_url(self, page: str, row: Any = None) -> str:
        if page == "list":
            return reverse("admin:ratelimits_ratelimit_changelist")
        return reverse({"detail": "users:detail", "undo": "users:limit_undo"}[page], args=[self.kwargs["pk"]])


@method_decorator(staff_required("ratelimits.view_ratelimit"), name="dispatch")
class EndLimitView(OwnLimitsMixin, ActionView):
    action = EndLimit()

    def get_object(self) -> RateLimit:
        limit: RateLimit = get_object_or_404(self.get_queryset(), pk=self.kwargs["limit_pk"])
        if not may_change(self.request.user, limit.user):  # type: ignore[arg-type]
            raise PermissionDenied
        return limit

    def unfit(self) -> HttpResponse:
        messages.info(self.request, "This rate limit has already been deleted.")
        return redirect(self.get_success_url())


@method_decorator(staff_required("ratelimits.view_ratelimit"), name="dispatch")
class OwnLimitUndoView(OwnLimitsMixin, UndoView):
    undo_actions = (RestoreOwnLimit(), PutBackOwnLimit())
