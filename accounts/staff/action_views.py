"""The pages that do something to one user, or to many."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST

from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.staff.actions import ACTIONS, BULK_ACTIONS, MoveToTier, UserAction
from accounts.staff.filters import UserFilter, query_without
from config.base.actions import ActionView, BulkActionView, SelectionForm
from config.base.views import staff_required
from tiers.models import Tier


@method_decorator(staff_required("accounts.view_user"), name="dispatch")
class UserActionView(ActionView):
    def get_action(self) -> UserAction:
        action: UserAction = self.action or ACTIONS[self.kwargs["slug"]]
        return action

    def get_queryset(self) -> UserQuerySet:
        users: UserQuerySet = User.objects.select_related("tier")
        return users

    def get_list_url(self) -> str:
        return reverse("users:list")

    def get_action_url(self, name: str) -> str:
        return reverse("users:act", args=[self.row.pk, name])


class UserSelectionForm(SelectionForm):
    tier = forms.ModelChoiceField(
        Tier.objects.live(), required=False, error_messages={"invalid_choice": "Choose a tier from the list."}
    )


@method_decorator([require_POST, staff_required("accounts.view_user")], name="dispatch")
class UserBulkView(BulkActionView):
    selection = ("action", "tier", "everything", "pk")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = UserSelectionForm(request.POST, model=User, actions=[*BULK_ACTIONS.values(), MoveToTier()])
        if not form.is_valid():
            for errors in form.errors.values():
                messages.error(request, str(errors[0]))
            return HttpResponseRedirect(self.get_list_url())
        self.selected = form.cleaned_data
        return super().dispatch(request, *args, **kwargs)

    def get_action(self) -> UserAction:
        return BULK_ACTIONS.get(self.selected["action"]) or MoveToTier(self.selected["tier"])

    def get_queryset(self) -> UserQuerySet:
        users: UserQuerySet = User.objects.filter(pk__in=self.selected["pk"])
        if self.selected["everything"]:
            users = UserFilter(self.request.GET, queryset=User.objects.all()).qs
        return users.select_related("tier")

    def get_list_url(self) -> str:
        query = query_without(self.request.GET)
        return reverse("users:list") + (f"?{query}" if query else "")
