"""/users/changes/: the progress of changes that a job makes."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts.models import BulkChange, User
from accounts.staff import bulk
from accounts.staff.actions import UNDO_ACTIONS
from config.base.history import Author
from config.base.views import staff_render, staff_required

ROWS_PER_PAGE = 25
REFRESH_SECONDS = 3
# A job takes a step every few seconds.
STALLED_AFTER = timedelta(minutes=2)


@require_safe
@staff_required("accounts.view_user")
def change_list(request: HttpRequest) -> HttpResponse:
    changes = BulkChange.objects.select_related("author")
    page = Paginator(changes, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    return staff_render(request, "accounts/staff/changes.html", {"title": "Bulk changes", "page": page})


@require_safe
@staff_required("accounts.view_user")
def change_detail(request: HttpRequest, change_pk: int) -> HttpResponse:
    change = get_object_or_404(BulkChange.objects.select_related("author", "undoes"), pk=change_pk)
    may_undo = may_make(request, bulk.kind_of(change).undo) and bulk.can_undo(change)
    context = {
        "title": change.title,
        "change": change,
        "is_stalled": not change.is_finished and is_stalled(),
        "may_stop": not change.is_finished and may_stop(request, change),
        "may_undo": may_undo,
        "undone_by": BulkChange.objects.filter(undoes=change).first(),
        "seconds": REFRESH_SECONDS,
    }
    response = staff_render(request, "accounts/staff/change.html", context)
    if not change.is_finished:
        response["Refresh"] = str(REFRESH_SECONDS)
    return response


def is_stalled() -> bool:
    """Whether no job is working on changes."""
    return not BulkChange.objects.unfinished().filter(updated_at__gte=timezone.now() - STALLED_AFTER).exists()


def may_stop(request: HttpRequest, change: BulkChange) -> bool:
    return bulk.kind_of(change).may(request.user, User)


def may_make(request: HttpRequest, name: str) -> bool:
    return any(action.may(request.user, User) for action in UNDO_ACTIONS if action.name == name)


@staff_required("accounts.view_user")
@require_POST
def change_stop(request: HttpRequest, change_pk: int) -> HttpResponse:
    change = get_object_or_404(BulkChange, pk=change_pk)
    if not may_stop(request, change):
        raise PermissionDenied
    if bulk.stop(change_pk, str(request.user)):
        messages.success(request, "Stopped. Users who were already changed stay changed.")
    else:
        messages.info(request, "This change has already finished.")
    return redirect(change)


@staff_required("accounts.view_user")
@require_POST
def change_undo(request: HttpRequest, change_pk: int) -> HttpResponse:
    change = get_object_or_404(BulkChange, pk=change_pk)
    if not may_make(request, bulk.kind_of(change).undo):
        raise PermissionDenied
    undo = bulk.begin_undo(change_pk, Author(request.user, request))
    if undo is None:
        messages.info(request, "This change can't be undone, or is already being undone.")
    return redirect(undo or change)
