"""What keys did: the staff's page over all of them, the holder's over his own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.models import User
from apikeys.models import APIKey
from apikeys.usage.analytics import Scope, Sums, Window, added, added_by, sums_by
from apikeys.usage.forms import StaffUsageForm, UsageForm, WhatIfForm
from apikeys.usage.what_if import DAYS, MOST_EVENTS, Replay, replay
from config.base.csv import csv_response
from config.base.views import staff_render, staff_required
from ratelimits.models import RateLimit

HOURLY_UP_TO = 2
MOST_ROWS = 20
CSV_HEADER = (
    "day", "key_id", "key", "holder", "method", "endpoint", "requests", "let_through", "refused", "errors",
    "average_ms", "slowest_ms", "tokens", "cost_microcents",
)  # fmt: skip


@require_safe
@login_required
def account_usage(request: HttpRequest) -> HttpResponseBase:
    form = UsageForm(request.GET, keys=APIKey.objects.live().filter(user=request.user))  # type: ignore[misc]
    context = {"shell": "base/account.html", "page_url": reverse("usage:account"), "title": "Usage"}
    return usage_page(request, form, Scope(user_id=request.user.pk), context)


@require_safe
@staff_required("apikeys.view_keyusage")
def staff_usage(request: HttpRequest) -> HttpResponseBase:
    form = StaffUsageForm(request.GET, keys=APIKey.objects.all())
    context = {"shell": "base/staff.html", "page_url": reverse("usage:staff"), "title": "Usage", "staff": True}
    return usage_page(request, form, Scope(), context | admin.site.each_context(request))


def usage_page(request: HttpRequest, form: UsageForm, allowed: Scope, context: dict[str, Any]) -> HttpResponseBase:
    """The page, or with ?format=csv the figures. A filter that is wrong shows its errors, and no figures."""
    if not form.is_valid():
        return render(request, "apikeys/usage/usage.html", {**context, "form": form}, status=400)
    scope = form.scope()
    if allowed.user_id is not None:
        scope = replace(scope, user_id=allowed.user_id)
    if request.GET.get("format") == "csv":
        return csv_response(f"usage-{form.window.start:%Y%m%d}.csv", CSV_HEADER, csv_rows(scope, form.window))
    return render(request, "apikeys/usage/usage.html", {**context, "form": form, **figures(form, scope)})


def figures(form: UsageForm, scope: Scope) -> dict[str, Any]:
    window, staff = form.window, isinstance(form, StaffUsageForm)
    unit, labels = slots(window)
    # One statement for the sums, the chart and the refusals: what is not folded yet is counted by each statement anew.
    by_time = sums_by((unit, "reason"), scope, window)
    keys = sums_by(("key",), scope, window, most=MOST_ROWS)
    found = APIKey.objects.select_related("user").in_bulk([group[0] for group, _ in keys])
    users = sums_by(("user",), scope, window, most=MOST_ROWS) if staff else []
    accounts = User.objects.in_bulk([group[0] for group, _ in users])
    return {
        "window": window,
        "last_day": window.days[-1],
        "sums": added(sums for _, sums in by_time),
        "chart": over_time(by_time, labels),
        "by_key": by_key_over_time(scope, window, form.chosen_keys) if len(form.chosen_keys) > 1 else None,
        "reasons": refusals(by_time),
        "endpoints": [(group[0], sums) for group, sums in sums_by(("endpoint",), scope, window, most=MOST_ROWS)],
        "keys": [(found.get(group[0]), sums) for group, sums in keys],
        "users": [(accounts.get(group[0]), sums) for group, sums in users],
        "most_rows": MOST_ROWS,
    }


def slots(window: Window) -> tuple[str, dict[Any, str]]:
    """The unit of a chart over `window`, and its slots with their labels: hours of a day or two, else days."""
    if len(window.days) <= HOURLY_UP_TO:
        return "hour", {hour: f"{hour:%-d %b %H}:00" for hour in window.hours}
    return "day", {day: f"{day:%-d %b}" for day in window.days}


def over_time(by_time: list[tuple[tuple[Any, ...], Sums]], labels: dict[Any, str]) -> list[tuple[Any, ...]]:
    """(label, let through, refused) for each day or hour, none left out; `by_time` by that and the reason."""
    sums = added_by(0, by_time)
    return [(label, sums.get(slot, Sums()).allowed, sums.get(slot, Sums()).refused) for slot, label in labels.items()]


def refusals(by_time: list[tuple[tuple[Any, ...], Sums]]) -> list[tuple[str, Sums]]:
    """(reason, sums) of what was refused, the most frequent first."""
    reasons = [(reason, sums) for reason, sums in added_by(1, by_time).items() if reason]
    return sorted(reasons, key=lambda row: (-row[1].requests, row[0]))


def by_key_over_time(scope: Scope, window: Window, keys: list[APIKey]) -> dict[str, Any]:
    """The requests of each chosen key beside each other: a series for each."""
    unit, labels = slots(window)
    counts = {group: sums.requests for group, sums in sums_by((unit, "key"), scope, window)}
    rows = [(label, *(counts.get((slot, key.pk), 0) for key in keys)) for slot, label in labels.items()]
    return {"figures": rows, "names": [key.name for key in keys]}


def csv_rows(scope: Scope, window: Window) -> Iterator[list[Any]]:
    """A line for each day, key, method and endpoint. Day by day, so that memory does not grow with the range."""
    names: dict[UUID, tuple[str, str]] = {}
    for day in window.days:
        rows = sums_by(("key", "method", "endpoint"), scope, Window.of_days(day, day))
        add_names(names, {group[0] for group, _ in rows})
        for (key, method, endpoint), sums in rows:
            yield [day.isoformat(), key, *names[key], method, endpoint, *measures(sums)]


def add_names(names: dict[UUID, tuple[str, str]], keys: set[UUID]) -> None:
    unknown = sorted(keys - names.keys())
    names.update(dict.fromkeys(unknown, ("", "")))
    for at in range(0, len(unknown), 500):
        for key in APIKey.objects.filter(pk__in=unknown[at : at + 500]).select_related("user"):
            names[key.pk] = (key.name, key.user.username)


def measures(sums: Sums) -> list[int | None]:
    slowest = sums.ms_max if sums.ms_count else None
    return [
        sums.requests, sums.allowed, sums.refused, sums.errors, sums.ms_average, slowest, sums.tokens, sums.cost,
    ]  # fmt: skip


@staff_required("ratelimits.view_ratelimit")
def what_if(request: HttpRequest) -> HttpResponse:
    """How many requests of the last week the rate limit on the form would have denied. Never saves anything."""
    limit = get_object_or_404(RateLimit, pk=pk) if (pk := request.GET.get("limit_id", "")).isdigit() else RateLimit()
    given = request.POST if request.method == "POST" else request.GET if "path" in request.GET else None
    form = WhatIfForm(given, instance=limit)
    context = {
        "title": "What if",
        "form": form,
        "limit": limit if limit.pk else None,
        "days": DAYS,
        "most": MOST_EVENTS,
    }
    if given is not None and form.is_valid():
        result = replay(form.instance)
        context |= {"replay": result, "words": form.instance.in_words, "worst": most_denied(result)}
    return staff_render(request, "apikeys/usage/what_if.html", context)


def most_denied(result: Replay) -> list[tuple[User, int]]:
    most = result.denied.most_common(10)
    users = User.objects.in_bulk([pk for pk, _ in most])
    return [(users[pk], number) for pk, number in most if pk in users]
