"""The request log: what was asked, what was answered, and why. For staff, and for users about their own keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.profile.lists import list_setup
from apikeys.models import KeyUsage
from apikeys.usage.fields import leave_out_suggestions
from apikeys.usage.request_filters import OwnRequestFilter, RequestFilter, StaffRequestFilter
from config.base.export import export, wanted_format
from config.base.filters import query_with, query_without
from config.base.keyset import keyset_page
from config.base.paginator import rows_per_page
from config.base.views import staff_required

LIVE_SECONDS = 5
CHUNK = 2000
COLUMNS = {
    "time": "Time",
    "verdict": "Verdict",
    "request": "Request",
    "who": "User and key",
    "address": "Address",
    "reported": "Reported",
    "agent": "User agent",
    "event": "Event ID",
}
EXTRA_COLUMNS = ("agent", "event")
EXPORT_HEADER = (
    "time", "event_id", "user", "key_id", "key", "method", "host", "path", "status", "reason", "rate_limit", "denied_by",
    "address", "user_agent", "tokens", "cost_microcents", "response_time_ms", "error_message", "reported",
)  # fmt: skip


@require_safe
@staff_required("apikeys.view_keyusage")
def staff_requests(request: HttpRequest) -> HttpResponseBase:
    found = StaffRequestFilter(request.GET, queryset=KeyUsage.objects.all(), request=request)
    leave_out_suggestions(found.form, request.user)
    return request_log(request, found, staff_context(request))


@require_safe
@login_required
def own_requests(request: HttpRequest) -> HttpResponseBase:
    found = OwnRequestFilter(request.GET, queryset=own_events(request), request=request)
    return request_log(request, found, {"shell": "base/account.html"})


@require_safe
@staff_required("apikeys.view_keyusage")
def staff_request(request: HttpRequest, pk: UUID) -> HttpResponse:
    return one_request(request, KeyUsage.objects.all(), pk, staff_context(request))


@require_safe
@login_required
def own_request(request: HttpRequest, pk: UUID) -> HttpResponse:
    return one_request(request, own_events(request), pk, {"shell": "base/account.html"})


def own_events(request: HttpRequest) -> QuerySet[KeyUsage]:
    user: Any = request.user
    events: QuerySet[KeyUsage] = KeyUsage.objects.filter(user=user)
    return events


def staff_context(request: HttpRequest) -> dict[str, Any]:
    return {"shell": "base/staff.html", "staff": True, **admin.site.each_context(request)}


def request_log(request: HttpRequest, found: RequestFilter, context: dict[str, Any]) -> HttpResponseBase:
    context |= {"title": "Requests", "filter": found, "query": query_without(request.GET, "live")}
    if not found.form.is_valid():
        return render(request, "apikeys/usage/requests.html", context, status=400)
    if file_format := wanted_format(request.GET):
        return export(request, file_format, "requests", EXPORT_HEADER, export_rows(found.qs))
    setup = list_setup(request, list(COLUMNS.items()), EXTRA_COLUMNS)
    if setup.default_url:
        return HttpResponseRedirect(setup.default_url)
    before, after = event_id(request, "before"), event_id(request, "after")
    page = keyset_page(with_names(found.qs), rows_per_page(request), before=before, after=after)
    is_live = page.is_first and "live" in request.GET
    context |= {
        "setup": setup,
        "page": page,
        "older": page.older and query_with(request.GET, "before", str(page.older)),
        "newer": page.newer and query_with(request.GET, "after", str(page.newer)),
        "is_live": is_live,
        "live_seconds": LIVE_SECONDS,
        "live_query": query_with(request.GET, "live", "1"),
    }
    response = render(request, "apikeys/usage/requests.html", context)
    if is_live:
        response["Refresh"] = str(LIVE_SECONDS)
    return response


def event_id(request: HttpRequest, name: str) -> UUID | None:
    """The row to continue from; None for anything that can't be one, which shows the newest."""
    try:
        return UUID(request.GET.get(name, ""))
    except ValueError:
        return None


def with_names(events: QuerySet[KeyUsage]) -> QuerySet[KeyUsage]:
    # Joins could make the database sort all events before it takes the first.
    return events.prefetch_related("api_key", "user__tier", "rate_limit")


def export_rows(events: QuerySet[KeyUsage]) -> Iterator[tuple[Any, ...]]:
    for event in with_names(events.order_by("-created_at", "-pk")).iterator(chunk_size=CHUNK):
        yield (
            event.created_at.isoformat(timespec="milliseconds"),
            event.pk,
            getattr(event, "user", ""),  # purged in this moment
            event.api_key_id,
            getattr(getattr(event, "api_key", None), "name", ""),
            event.method,
            event.host,
            event.endpoint,
            event.status_code,
            event.reason,
            event.rate_limit,
            event.limit_in_words,
            event.ip_address,
            event.user_agent,
            event.tokens_used,
            event.cost_microcents,
            event.response_time_ms,
            event.error_message,
            event.reported_at,
        )


def one_request(request: HttpRequest, events: QuerySet[KeyUsage], pk: UUID, context: dict[str, Any]) -> HttpResponse:
    event = get_object_or_404(with_names(events), pk=pk)
    context |= {"title": f"{event.method} {event.endpoint}", "event": event, "explain_url": explain_url(event)}
    return render(request, "apikeys/usage/request.html", context)


def explain_url(event: KeyUsage) -> str:
    """The page that decides the same request now, filled in."""
    facts = {
        "id": event.api_key_id,
        "method": event.method,
        "path": quote(event.endpoint),
        "host": event.host,
        "address": event.ip_address or "",
    }
    return f"{reverse('tools:explain')}?{urlencode(facts)}"
