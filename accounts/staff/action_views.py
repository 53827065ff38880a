"""Pages for actions on one user or many."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST

from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.staff import bulk
from accounts.staff.actions import SELECTION_ACTIONS, UNDO_ACTIONS, MoveToTier, limits_of, with_limits
from accounts.staff.exports import export_users
from accounts.staff.filters import UserFilter
from config.base.actions import Action, ActionView, SelectionForm, SelectionView, UndoView
from config.base.filters import query_without
from config.base.history import Author
from config.base.views import staff_required
from tiers.models import Tier

MAX_TIERS = 50


@method_decorator(staff_required("accounts.view_user"), name="dispatch")
class UserActionView(ActionView):
    def get_queryset(self) -> UserQuerySet:
        users: UserQuerySet = User.objects.select_related("tier")
        return users

    def page_url(self, page: str, row: User | None = None) -> str:
        return reverse(f"users:{page}", args=[row.pk] if row else [])


class UserTierView(UserActionView):
    """Shows the rate limits of each tier next to the choice, and those that the user will have."""

    template_name = "accounts/staff/tier.html"

    def ask(self, form: forms.Form, count: int, status: int = 0, **context: Any) -> HttpResponse:
        tiers = with_limits(Tier.objects.live())[:MAX_TIERS]
        limits = [(tier, limits_of(tier)) for tier in (*tiers, None)]
        return super().ask(form, count, status, tiers=limits, now=self.row.effective_tier, **context)

    def get_success_url(self) -> str:
        return f"{super().get_success_url()}#effective-limits"


@method_decorator(staff_required("accounts.view_user"), name="dispatch")
class UserUndoView(UndoView, UserActionView):
    undo_actions = UNDO_ACTIONS


class UserSelectionForm(SelectionForm):
    tier = forms.ModelChoiceField(
        Tier.objects.live(), required=False, error_messages={"invalid_choice": "Choose a tier from the list."}
    )


@method_decorator([require_POST, staff_required("accounts.view_user")], name="dispatch")
class UserBulkView(SelectionView, UserActionView):
    selection = ("action", "tier", "everything", "pk")
    selection_form = UserSelectionForm
    model = User
    actions = SELECTION_ACTIONS

    def get_action(self) -> Action:
        return MoveToTier(self.data["tier"]) if self.data["action"] == "tier" else super().get_action()

    def get_queryset(self) -> UserQuerySet:
        users: UserQuerySet = User.objects.filter(pk__in=self.data["pk"])
        if self.data["everything"]:
            users = UserFilter(self.request.GET, queryset=User.objects.all()).qs
        return users.select_related("tier")

    def perform(self, form: forms.Form) -> HttpResponse | None:
        """Leave thousands of users to a job, and show its progress."""
        if not form.is_valid() or self.rows.count() <= bulk.MAX_AT_ONCE:
            return super().perform(form)
        title = self.action.applied_to(self.named(self.rows.count()))
        change = bulk.begin(self.action, self.rows, Author(self.request.user, self.request), title)
        return redirect(change)

    def export(self, file_format: str) -> HttpResponseBase:
        return export_users(self.request, file_format, self.get_queryset())

    def get_list_url(self) -> str:
        query = query_without(self.request.GET)
        return super().get_list_url() + (f"?{query}" if query else "")
