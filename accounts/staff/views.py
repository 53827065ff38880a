"""/users/: list, export, show, create and edit users. Actions are in action_views.py."""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts import services
from accounts.addresses import is_verified
from accounts.models import BulkChange, User
from accounts.profile.limits import effective_limits
from accounts.profile.lists import Column, list_setup
from accounts.profile.picture_views import picture_response
from accounts.rights import may_change
from accounts.signin.sessions import open_sessions
from accounts.staff.actions import ACTIONS, SELECTION_ACTIONS, why_not_change_back
from accounts.staff.filters import SORTS, UserFilter
from accounts.staff.forms import UserEditForm, UserForm
from accounts.staff.headroom import Used, tightest
from config.base.filters import query_with, query_without
from config.base.history import Author, entries_of
from config.base.paginator import BoundedPaginator, rows_per_page
from config.base.undo import FORMER, Button, former_in, new_operation, offer_undo, undo_in_history
from config.base.views import retry_on_conflict, staff_render, staff_required
from ratelimits.services import totals_of
from tiers.models import Tier

MAX_CHANGES = 50
MAX_EVENTS = 10
MAX_KEYS = 50
# The most bulk changes in progress to show above the list.
MAX_BULK_CHANGES = 3
COLUMNS = {
    "name": "Name",
    "state": "State",
    "email": "Email",
    "tier": "Tier",
    "joined": "Joined",
    "seen": "Last seen",
    "keys": "Keys",
    "usage": "Usage",
    "billing_day": "Billing day",
    "id": "ID",
}
EXTRA_COLUMNS = ("billing_day", "id")
NUMBERS = ("keys", "usage", "billing_day", "id")


@require_safe
@staff_required("accounts.view_user")
def user_list(request: HttpRequest) -> HttpResponse:
    setup = list_setup(request, list(COLUMNS.items()), EXTRA_COLUMNS)
    if setup.default_url:
        return HttpResponseRedirect(setup.default_url)
    found = UserFilter(request.GET, queryset=User.objects.all())
    paginator = BoundedPaginator(found.qs, rows_per_page(request))
    page = paginator.get_page(request.GET.get("page"))
    rows = rows_of(page.object_list)
    context = {
        "setup": setup,
        "title": "Users",
        "filter": found,
        "page": page,
        "rows": rows,
        "lines": with_usage(rows) if "usage" in setup.shown else [(user, None) for user in rows],
        "capped": paginator.is_capped,
        "columns": [heading(request, found.sort, column) for column in setup.columns if column.is_shown],
        "query": query_without(request.GET),
        "bulk_actions": [(action.name, action.label) for action in SELECTION_ACTIONS if action.may(request.user, User)],
        "tiers": Tier.objects.live(),
        "bulk_changes": BulkChange.objects.unfinished()[:MAX_BULK_CHANGES],
        "has_users": page.paginator.count > 0 or User.objects.exists(),
    }
    return staff_render(request, "accounts/staff/list.html", context)


def rows_of(users: Any) -> list[User]:
    """The users of one page with tiers and key counts: counting keys for the whole list would be slow."""
    order = {user.pk: position for position, user in enumerate(users)}
    rows = User.objects.filter(pk__in=order).select_related("tier").with_key_counts()
    return sorted(rows, key=lambda user: order[user.pk])


def with_usage(users: list[User]) -> list[tuple[User, Used | None]]:
    """Each user with the rate limit that they have used most."""
    found = tightest(users)
    return [(user, found.get(user.pk)) for user in users]


def heading(request: HttpRequest, sort: str, column: Column) -> dict[str, Any]:
    """A column heading with links to sort by it."""
    names = {column.name: column.label} if column.name in SORTS else {}
    if column.name == "name":
        names["username"] = "Username"
    directions = {f"-{name}": "descending" for name in names} | dict.fromkeys(names, "ascending")
    return {
        "label": column.label,
        "is_number": column.name in NUMBERS,
        "aria_sort": directions.get(sort, ""),
        "links": [sort_link(request, sort, name, label) for name, label in names.items()],
    }


def sort_link(request: HttpRequest, sort: str, name: str, label: str) -> dict[str, str]:
    direction = {name: "up", f"-{name}": "down"}.get(sort, "")
    return {
        "label": label,
        "direction": direction,
        "query": query_with(request.GET, "sort", f"-{name}" if direction == "up" else name),
    }


@require_safe
@staff_required("accounts.view_user")
def user_detail(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User.objects.select_related("tier"), pk=pk)
    return staff_render(request, "accounts/staff/detail.html", detail_context(request, user))


def detail_context(request: HttpRequest, user: User) -> dict[str, Any]:
    tier, history = user.effective_tier, list(entries_of(user)[:MAX_CHANGES])
    may_edit = user.deleted_at is None and allowed(request.user, user, "accounts.change_user")
    day_ago = timezone.now() - timedelta(days=1)
    keys = user.api_keys.live().order_by("-created_at")
    return {
        "title": user.name,
        "person": user,
        "verified": is_verified(user),
        "tier": tier,
        "effective": effective_limits(user, with_keys=request.user.has_perm("apikeys.view_apikey")),
        "may_limit": user.deleted_at is None and may_change(request.user, user),  # type: ignore[arg-type]
        "keys": keys[:MAX_KEYS],
        "usage": usage_since(user, day_ago) if request.user.has_perm("apikeys.view_keyusage") else {},
        "events": user.usage.select_related("api_key").order_by("-created_at")[:MAX_EVENTS],
        "sessions": open_sessions(user),
        "history": history,
        "undo": undo_of_last(request.user, user, history) if may_edit else None,
        "actions": offered_actions(request.user, user),
        "may_edit": may_edit,
        "may_top_up": allowed(request.user, user, "ratelimits.change_ratelimit") and totals_of(user).exists(),
        "may_erase": request.user.is_superuser and user.erased_at is None and user != request.user,
    }


def undo_of_last(actor: Any, user: User, history: list[LogEntry]) -> Button | None:
    last = history[0] if history else None
    if last is None or why_not_change_back(actor, user, former_in(last)):
        return None
    return undo_in_history(last, actor, reverse("users:undo"))


def usage_since(user: User, since: datetime) -> dict[str, int]:
    counts: dict[str, int] = user.usage.filter(created_at__gte=since).aggregate(
        requests=Count("pk"), denied=Count("pk", filter=~Q(reason=""))
    )
    return counts


def allowed(actor: Any, user: User, permission: str) -> bool:
    return bool(actor.has_perm(permission)) and may_change(actor, user)


def offered_actions(actor: Any, user: User) -> list[Any]:
    one = User.objects.filter(pk=user.pk)
    return [
        action
        for action in ACTIONS.values()
        if action.may(actor, User) and action.fits(action.allowed(actor, one)).exists()
    ]


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("accounts.add_user")
@retry_on_conflict
def user_create(request: HttpRequest) -> HttpResponse:
    form = UserForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = services.create(form.save(commit=False), Author(request.user, request))
        messages.success(request, f"User “{user}” created. They've been emailed a link to set a password.")
        return redirect("users:detail", user.pk)
    return staff_render(request, "accounts/staff/form.html", {"title": "Create user", "form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("accounts.change_user")
@retry_on_conflict
def user_edit(request: HttpRequest, pk: int) -> HttpResponse:
    user = changeable_user(request, pk)
    if user.deleted_at is not None:
        messages.error(request, "This user is deleted. Restore them before you edit them.")
        return redirect("users:detail", user.pk)
    person = copy(user)  # the form writes invalid values to `user`, too
    form = UserEditForm(request.POST or None, instance=user, actor=request.user)
    if request.method == "POST" and form.is_valid():
        author = Author(request.user, request, operation=new_operation())
        if services.update(form, author):
            offer_undo(request, f"User “{user}” updated.", author, FORMER, reverse("users:undo"))
        else:
            messages.info(request, "Nothing changed.")
        return redirect("users:detail", user.pk)
    context = {"title": f"Edit {person.name}", "form": form, "person": person}
    return staff_render(request, "accounts/staff/form.html", context)


def changeable_user(request: HttpRequest, pk: int) -> User:
    """The user; 404 if there is none, 403 if the signed-in user may not change them."""
    actor: Any = request.user
    user: User = get_object_or_404(User.objects.select_related("tier"), pk=pk)
    if not may_change(actor, user):
        raise PermissionDenied
    return user


@require_safe
@staff_required("accounts.view_user")
def user_picture(request: HttpRequest, pk: int) -> Any:
    return picture_response(get_object_or_404(User, pk=pk))
