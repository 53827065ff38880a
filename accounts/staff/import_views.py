"""/users/import/: choose a file, see what it would create and change, and import it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from accounts.staff.import_forms import UserColumnsForm
from accounts.staff.imports import USERS, Plan, PlanChanged, import_users, make_plan, send_emails
from config.base.history import Author
from config.base.import_forms import UploadForm, unsealed
from config.base.text import counted
from config.base.views import retry_on_conflict, staff_render, staff_required

MAX_LISTED = 50
# A page sends them one after another while the browser waits.
MAX_EMAILS = 200


class TooManyEmails(Exception):
    pass


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("accounts.view_user")
@retry_on_conflict
def user_import(request: HttpRequest) -> HttpResponse:
    if not (request.user.has_perm("accounts.add_user") or request.user.has_perm("accounts.change_user")):
        raise PermissionDenied
    if "sealed" in request.POST:
        return columns_step(request)
    form = UploadForm(*([request.POST, request.FILES] if request.method == "POST" else []), importable=USERS)
    if form.is_valid():
        return preview(request, UserColumnsForm(form.first_values(), form.cleaned_data["table"]))
    return staff_render(request, "accounts/staff/import.html", {"title": "Import users", "form": form})


def columns_step(request: HttpRequest) -> HttpResponse:
    table = unsealed(request.POST["sealed"])
    if table is None:
        messages.error(request, "This preview has expired. Choose the file again.")
        return redirect("users:import")
    form = UserColumnsForm(request.POST, table)
    return (carry_out(request, form) if "import" in request.POST else None) or preview(request, form)


def carry_out(request: HttpRequest, form: UserColumnsForm) -> HttpResponse | None:
    """None, with the reasons in the form, if nothing was imported."""
    if not form.is_valid():
        return None
    shown = request.POST.get("digest") or "nothing"
    invite: bool = form.cleaned_data["invite"]
    try:
        plan = import_users(
            form.table,
            form.columns,
            Author(request.user, request, via="import"),
            skip_invalid=request.POST["import"] == "valid",
            digest=shown,
            accept=lambda plan: check_emails(plan, invite=invite),
        )
    except PlanChanged as error:
        changed = error.plan.digest != shown
        form.add_error(None, "Something has changed since this preview. Check it again." if changed else
                       "Nothing was imported, because some rows have errors.")  # fmt: skip
        return None
    except TooManyEmails as error:
        form.add_error("invite", str(error))
        return None
    send_emails(plan, request, invite=invite)
    messages.success(request, f"{counted(len(plan.created), 'user')} created and {len(plan.changed)} changed.")
    return redirect("users:list")


def check_emails(plan: Plan, *, invite: bool) -> None:
    if (count := plan.email_count(invite=invite)) > MAX_EMAILS:
        raise TooManyEmails(
            f"This import would send {count:,} emails, but a page can send up to {MAX_EMAILS}. Split the file, or use "
            "manage.py import_users."
        )


def preview(request: HttpRequest, form: UserColumnsForm) -> HttpResponse:
    context: dict[str, Any] = {"title": "Import users", "form": form, "is_preview": True}
    if form.is_valid() or "username" in form.columns:
        actor: Any = request.user
        plan = make_plan(form.table, form.columns, actor)
        context |= {
            "plan": plan,
            "listed": plan.effective[:MAX_LISTED],
            "more_lines": max(0, len(plan.effective) - MAX_LISTED),
            "problems": plan.problems[:MAX_LISTED],
            "more_problems": max(0, len(plan.problems) - MAX_LISTED),
            "ignored": form.ignored,
        }
    return staff_render(request, "accounts/staff/import.html", context)
