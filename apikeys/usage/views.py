from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import User
from apikeys.models import APIKey
from apikeys.models.usage import verdict_in_words
from apikeys.usage.analytics import (
    Breakdown,
    Sums,
    SumsRow,
    TimeRange,
    UsageScope,
    add_up,
    add_up_by,
    breakdowns,
    sums_by,
)
from apikeys.usage.fields import leave_out_suggestions
from apikeys.usage.forms import StaffUsageForm, UsageForm
from apikeys.usage.request_links import RequestLinks
from config.base.database import grouping_by_hash, in_batches
from config.base.export import export, wanted_format
from config.base.views import staff_required

MAX_DAYS_BY_HOUR = 2
MAX_ROWS = 20
EXPORT_HEADER = (
    "day", "key_id", "key", "owner", "host", "method", "endpoint", "requests", "allowed", "denied", "errors",
    "average_ms", "slowest_ms", "tokens", "cost_microcents",
)  # fmt: skip


@require_safe
@login_required
def account_usage(request: HttpRequest) -> HttpResponseBase:
    user: Any = request.user
    form = UsageForm(request.GET, keys=APIKey.objects.live().filter(user=user), owner=user)
    return usage_page(request, form, {"shell": "base/account.html"})


@require_safe
@staff_required("apikeys.view_keyusage")
def staff_usage(request: HttpRequest) -> HttpResponseBase:
    form = StaffUsageForm(request.GET, keys=APIKey.objects.all())
    leave_out_suggestions(form, request.user)
    return usage_page(request, form, {"shell": "base/staff.html", "staff": True, **admin.site.each_context(request)})


def usage_page(request: HttpRequest, form: UsageForm, context: dict[str, Any]) -> HttpResponseBase:
    context |= {"title": "Usage", "form": form}
    if not form.is_valid():
        return render(request, "apikeys/usage/usage.html", context, status=400)
    if file_format := wanted_format(request.GET):
        rows = export_rows(form.scope(), form.time_range)
        return export(request, file_format, f"usage-{form.time_range.start:%Y%m%d}", EXPORT_HEADER, rows)
    return render(request, "apikeys/usage/usage.html", context | figures(form))


def figures(form: UsageForm) -> dict[str, Any]:
    scope, time_range = form.scope(), form.time_range
    unit, labels = time_slots(time_range)
    chosen = list(form.cleaned_data["key"])
    links = links_of(form)
    with grouping_by_hash():
        found = breakdowns(wanted_figures(unit, chosen), scope, time_range)
    by_time = found["time"]
    return {
        "time_range": time_range,
        "last_day": time_range.days[-1],
        "sums": add_up(sums for _, sums in by_time),
        "chart": allowed_and_denied(by_time, labels),
        # The log has no filter for several keys.
        "chart_urls": [links.verdicts(slot) for slot in labels] if len(chosen) <= 1 else [],
        "by_key": requests_by_key(found["time and key"], labels, chosen, links) if len(chosen) > 1 else None,
        "reasons": [
            (verdict_in_words(reason), links.url(*time_range, verdict=reason), sums)
            for reason, sums in denials_by_reason(by_time)
        ],
        "endpoints": [(*group, sums) for group, sums in found["endpoint and host"]],
        "hosts": [(host, sums) for (host,), sums in found["host"]] if len(found["host"]) > 1 else [],
        "keys": with_rows(found["key"], APIKey.objects.select_related("user")),
        "users": with_rows(found["user"], User.objects) if isinstance(form, StaffUsageForm) else [],
        "max_rows": MAX_ROWS,
    }


def wanted_figures(unit: str, chosen: list[APIKey]) -> dict[str, Breakdown]:
    wanted = {"time": Breakdown((unit, "reason")), "endpoint and host": Breakdown(("endpoint", "host"), MAX_ROWS)}
    wanted |= {group: Breakdown((group,), MAX_ROWS) for group in ("host", "key", "user")}
    return wanted | ({"time and key": Breakdown((unit, "key"))} if len(chosen) > 1 else {})


def with_rows(found: list[SumsRow], rows: Any) -> list[tuple[Any, Sums]]:
    """The row of each id; None if it was removed."""
    by_id = rows.in_bulk([pk for (pk,), _ in found])
    return [(by_id.get(pk), sums) for (pk,), sums in found]


def links_of(form: UsageForm) -> RequestLinks:
    """Links to the requests of the same user, tier, host, endpoint and key."""
    data = form.cleaned_data
    chosen = {
        "user": data["user"].username if data.get("user") else "",
        "tier": data["tier"].pk if data.get("tier") else "",
        "path": data["endpoint"],
        "host": data["host"],
        "key": data["key"][0].pk if len(data["key"]) == 1 else "",
    }
    page = "usage:staff_requests" if isinstance(form, StaffUsageForm) else "usage:own_requests"
    return RequestLinks(page, {name: str(value) for name, value in chosen.items() if value})


def time_slots(time_range: TimeRange) -> tuple[str, dict[Any, str]]:
    """The unit of a chart (hour or day), and the label of each slot."""
    if len(time_range.days) <= MAX_DAYS_BY_HOUR:
        return "hour", {hour: f"{hour:%-d %b %H}:00" for hour in time_range.hours}
    return "day", {day: f"{day:%-d %b}" for day in time_range.days}


def allowed_and_denied(by_time: list[SumsRow], labels: dict[Any, str]) -> list[tuple[str, int, int]]:
    sums = add_up_by(0, by_time)
    slots = ((label, sums.get(slot, Sums())) for slot, label in labels.items())
    return [(label, found.allowed, found.denied) for label, found in slots]


def denials_by_reason(by_time: list[SumsRow]) -> list[tuple[str, Sums]]:
    reasons = [(reason, sums) for reason, sums in add_up_by(1, by_time).items() if reason]
    return sorted(reasons, key=lambda row: (-row[1].requests, row[0]))


def requests_by_key(
    by_time_and_key: list[SumsRow], labels: dict[Any, str], keys: list[APIKey], links: RequestLinks
) -> dict[str, Any]:
    counts = {group: sums.requests for group, sums in by_time_and_key}
    rows = [(label, *(counts.get((slot, key.pk), 0) for key in keys)) for slot, label in labels.items()]
    urls = [[links.slot_url(slot, key=str(key.pk)) for key in keys] for slot in labels]
    return {"figures": rows, "names": [key.name for key in keys], "urls": urls}


def export_rows(scope: UsageScope, time_range: TimeRange) -> Iterator[list[Any]]:
    """One query for each day, so that memory doesn't grow with the range."""
    names: dict[UUID, tuple[str, str]] = {}
    for day in time_range.days:
        rows = sums_by(("key", "host", "method", "endpoint"), scope, TimeRange.of_days(day, day))
        add_names(names, {group[0] for group, _ in rows})
        for (key, host, method, endpoint), sums in rows:
            yield [day.isoformat(), key, *names[key], host, method, endpoint, *export_figures(sums)]


def add_names(names: dict[UUID, tuple[str, str]], keys: set[UUID]) -> None:
    """Look up (name, owner) of the keys that aren't in `names` yet."""
    missing = sorted(keys - names.keys())
    names.update(dict.fromkeys(missing, ("", "")))
    for batch in in_batches(missing, 500):
        for key in APIKey.objects.filter(pk__in=batch).select_related("user"):
            names[key.pk] = (key.name, key.user.username)


def export_figures(sums: Sums) -> list[int | None]:
    slowest = sums.ms_max if sums.ms_count else None
    return [
        sums.requests, sums.allowed, sums.denied, sums.errors, sums.ms_average, slowest, sums.tokens, sums.cost,
    ]  # fmt: skip
