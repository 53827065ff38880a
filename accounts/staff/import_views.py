"""/users/import/"""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator

from accounts.staff.imports import USERS, Plan, import_users, make_plan, send_emails
from config.base.history import Author
from config.base.import_forms import ImportColumnsForm
from config.base.import_views import ImportView, Preview
from config.base.importable import NotImported
from config.base.text import counted
from config.base.views import staff_required

# A page sends them one after another while the browser waits.
MAX_EMAILS = 200


class UserColumnsForm(ImportColumnsForm):
    invite = forms.BooleanField(
        label="Email new users a link to set a password", required=False, help_text="The link works for one day."
    )


@method_decorator(staff_required("accounts.view_user"), name="dispatch")
class UserImportView(ImportView):
    template_name = "accounts/staff/import.html"
    title = "Import users"
    list_title = "Users"
    list_url = "users:list"
    importable = USERS
    form_class = UserColumnsForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (request.user.has_perm("accounts.add_user") or request.user.has_perm("accounts.change_user")):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def make_preview(self, form: ImportColumnsForm) -> Preview:
        actor: Any = self.request.user
        plan = make_plan(form.table, form.columns, actor)
        users = counted(len(plan.effective), "user")
        skip = f"Skip {counted(len(plan.invalid), 'row')} and import" if plan.invalid else "Import"
        return Preview(plan.effective, plan.problems, plan.digest, f"{skip} {users}" if plan.effective else "", plan)

    def import_table(self, form: ImportColumnsForm) -> str:
        invite: bool = form.cleaned_data["invite"]

        def accept(plan: Plan) -> None:
            self.refuse_changed(plan.digest)
            check_emails(plan, invite=invite)

        author = Author(self.request.user, self.request, via="import")
        skip_invalid = self.request.POST["import"] == "valid"
        plan = import_users(form.table, form.columns, author, skip_invalid=skip_invalid, accept=accept)
        send_emails(plan, self.request, invite=invite)
        return f"{counted(len(plan.created), 'user')} created and {len(plan.changed)} changed."


def check_emails(plan: Plan, *, invite: bool) -> None:
    if (count := plan.email_count(invite=invite)) > MAX_EMAILS:
        raise NotImported(
            f"This import would send {count:,} emails, but a page can send up to {MAX_EMAILS}. Split the file, or use "
            "manage.py import_users.",
            "invite",
        )
