"""/admin/ratelimits/import/: choose a table of tiers and rate limits, check what it would change, and import it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from config.base.history import Author
from config.base.import_forms import ColumnsForm, UploadForm, unsealed
from config.base.text import counted
from config.base.views import retry_on_conflict, staff_render, staff_required
from ratelimits.plans.files import Problems
from ratelimits.plans.services import apply_entries
from ratelimits.plans.tables import PLANS, problems_of, read_table_of_plans

MAX_LISTED = 100
RIGHTS = ("tiers.add_tier", "tiers.change_tier", "ratelimits.add_ratelimit", "ratelimits.change_ratelimit")


class PlanChanged(Exception):
    """The import would do something else than what was shown."""


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required(*RIGHTS)
@retry_on_conflict
def plan_import(request: HttpRequest) -> HttpResponse:
    if "sealed" in request.POST:
        return columns_step(request)
    form = UploadForm(*([request.POST, request.FILES] if request.method == "POST" else []), importable=PLANS)
    if form.is_valid():
        return preview(request, ColumnsForm(form.first_values(), form.cleaned_data["table"], PLANS))
    return page(request, {"form": form})


def columns_step(request: HttpRequest) -> HttpResponse:
    table = unsealed(request.POST["sealed"])
    if table is None:
        messages.error(request, "This preview has expired. Choose the file again.")
        return redirect("ratelimits:import")
    form = ColumnsForm(request.POST, table, PLANS)
    return (carry_out(request, form) if "import" in request.POST else None) or preview(request, form)


def carry_out(request: HttpRequest, form: ColumnsForm) -> HttpResponse | None:
    """None, with the reasons in the form, if nothing was imported."""

    def accept(differences: Sequence[str]) -> None:
        if digest(differences) != request.POST.get("digest"):
            raise PlanChanged

    if not form.is_valid():
        return None
    try:
        entries = read_table_of_plans(form.table, form.columns)
        result = apply_entries(entries, Author(request.user, request, via="import"), accept=accept)
    except PlanChanged:
        form.add_error(None, "Something has changed since this preview. Check it again.")
    except Problems:
        form.add_error(None, "Nothing was imported, because some rows have errors.")
    else:
        messages.success(request, f"{counted(len(result.differences), 'change')} imported.")
        return redirect("admin:tiers_tier_changelist")
    return None


def preview(request: HttpRequest, form: ColumnsForm) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "is_preview": True}
    if form.is_valid() or "tier" in form.columns:
        try:
            result = apply_entries(read_table_of_plans(form.table, form.columns), None, dry_run=True)
        except Problems as error:
            found = problems_of(error)
            context |= {"problems": found[:MAX_LISTED], "more_problems": max(0, len(found) - MAX_LISTED)}
        else:
            shown = result.differences
            context |= {"differences": shown[:MAX_LISTED], "more": max(0, len(shown) - MAX_LISTED)}
            context |= {"count": len(shown), "digest": digest(shown), "is_plan": True}
        context["ignored"] = form.ignored
    return page(request, context)


def page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    return staff_render(request, "ratelimits/plans/import.html", {"title": "Import tiers"} | context)


def digest(differences: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(differences).encode()).hexdigest()
