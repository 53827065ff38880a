"""The staff pages that change what accounts may do: one action on one account, or on many at once; and erasing."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods, require_POST

from accounts import erasure
from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.services import Outcome
from accounts.staff.actions import ACTIONS, Action, to_tier
from accounts.staff.filters import UserFilter, query_without
from accounts.staff.forms import BulkForm, EraseForm, TierForm
from accounts.staff.views import changeable_user
from config.base.history import Author
from config.base.text import counted
from config.base.views import staff_render, staff_required

REASONS_SHOWN = 5


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("accounts.view_user")
def act(request: HttpRequest, pk: int, slug: str) -> HttpResponse:
    """GET says what the action will mean for the account and asks; POST does it."""
    action = ACTIONS[slug]
    user = changeable_user(request, pk)
    users = User.objects.filter(pk=user.pk)
    if not request.user.has_perm(action.permission) or not action.may_touch(users, request.user).exists():
        raise PermissionDenied
    users = action.fits(users)
    if not users.exists():
        messages.info(request, f"Nothing to do: “{user}” is {user.state}.")
        return redirect("users:detail", user.pk)
    if request.method == "POST":
        return do_one(request, action, user, users)
    context = {"title": f"{action.label}: {user.name}", "person": user, "action": action}
    return staff_render(request, "accounts/staff/confirm.html", context | {"effects": action.effects(users)})


def do_one(request: HttpRequest, action: Action, user: User, users: UserQuerySet) -> HttpResponse:
    outcome = attempt(request, action, users)
    if outcome.done:
        messages.success(request, done_message(action, user))
    return redirect("users:detail", user.pk)


def attempt(request: HttpRequest, action: Action, users: UserQuerySet) -> Outcome:
    """Do it, and tell the person of every refusal."""
    try:
        outcome = action.perform(users, Author(request.user, request))
    except ValidationError as error:
        outcome = Outcome(refused=error.messages)
    for reason in outcome.refused[:REASONS_SHOWN]:
        messages.error(request, reason)
    more = len(outcome.refused) - REASONS_SHOWN
    if more > 0:
        messages.error(request, f"{counted(more, 'account')} more could not be changed for reasons like these.")
    return outcome


def done_message(action: Action, user: User) -> str:
    if not action.undo:
        return f"“{user}” was {action.done}."
    undo = reverse("users:act", args=[user.pk, action.undo])
    return format_html('“{}” was {}. <a href="{}">Undo</a>', user, action.done, undo)


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("accounts.change_user")
def change_tier(request: HttpRequest, pk: int) -> HttpResponse:
    user = changeable_user(request, pk)
    form = TierForm(request.POST if request.method == "POST" else None, user=user)
    if form.is_valid():
        users = User.objects.filter(pk=user.pk)
        action = to_tier(form.cleaned_data["tier"])
        return do_one(request, action, user, users)
    context = {"title": f"Set the tier of {user.name}", "person": user, "form": form}
    return staff_render(request, "accounts/staff/tier.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("accounts.view_user")
def erase(request: HttpRequest, pk: int) -> HttpResponse:
    """Superusers only: overwrite the person's data, after his username was typed."""
    user = get_object_or_404(User, pk=pk)
    if not request.user.is_superuser or user == request.user:
        raise PermissionDenied
    if user.erased_at is not None:
        messages.info(request, "This account was erased already.")
        return redirect("users:detail", user.pk)
    form = EraseForm(request.POST if request.method == "POST" else None, user=user)
    if form.is_valid():
        try:
            erasure.erase(user, Author(request.user, request))
        except ValidationError as error:
            messages.error(request, error.messages[0])
        else:
            messages.success(request, "The personal data of this account was erased.")
        return redirect("users:detail", user.pk)
    context = {"title": f"Erase {user.name}", "person": user, "form": form, "keys": user.api_keys.live().count()}
    return staff_render(request, "accounts/staff/erase.html", context)


@require_POST
@staff_required("accounts.view_user")
def bulk(request: HttpRequest) -> HttpResponse:
    """First the page that counts what will happen, then, with its figure sent back and still true, the deed."""
    form = BulkForm(request.POST)
    if not form.is_valid():
        for errors in form.errors.values():
            messages.error(request, str(errors[0]))
        return back_to_list(request)
    action = form.chosen_action()
    if not request.user.has_perm(action.permission):
        raise PermissionDenied
    chosen = selection(request, form)
    allowed = action.may_touch(action.fits(chosen), request.user)
    count = allowed.count()
    if count and form.cleaned_data["expected"] == count:
        return do_many(request, action, allowed)
    return confirm_many(request, form.cleaned_data, chosen, (action, allowed, count))


def selection(request: HttpRequest, form: BulkForm) -> UserQuerySet:
    if form.cleaned_data["everything"]:
        found: UserQuerySet = UserFilter(request.GET, queryset=User.objects.all()).qs
        return found
    ticked: UserQuerySet = User.objects.filter(pk__in=form.cleaned_data["pk"])
    return ticked


def do_many(request: HttpRequest, action: Action, users: UserQuerySet) -> HttpResponse:
    outcome = attempt(request, action, users)
    if outcome.done:
        messages.success(request, f"{counted(outcome.done, 'account')} {action.done}.")
    return back_to_list(request)


def confirm_many(
    request: HttpRequest, data: dict[str, Any], chosen: UserQuerySet, what: tuple[Action, UserQuerySet, int]
) -> HttpResponse:
    action, allowed, count = what
    total = chosen.count()
    fitting = action.fits(chosen).count()
    context: dict[str, Any] = {
        "title": f"{action.label}: {counted(count, 'account')}",
        "action": action,
        "data": data,
        "count": count,
        "untouched": total - fitting,
        "forbidden": fitting - count,
        "effects": action.effects(allowed) if count else [],
        "moved_on": data["expected"] not in (None, count),
        "query": query_without(request.GET),
        "list_url": list_url(request),
    }
    return staff_render(request, "accounts/staff/bulk_confirm.html", context)


def list_url(request: HttpRequest) -> str:
    query = query_without(request.GET)
    return reverse("users:list") + (f"?{query}" if query else "")


def back_to_list(request: HttpRequest) -> HttpResponseRedirect:
    return HttpResponseRedirect(list_url(request))
