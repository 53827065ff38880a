"""/users/<id>/top-up/: add to a user's prepaid rate limit."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.staff.views import changeable_user
from config.base.history import Author
from config.base.undo import FORMER, new_operation, offer_undo
from config.base.views import staff_render, staff_required
from ratelimits.models import RateLimit
from ratelimits.services import top_up, totals_of


class PrepaidLimitField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, limit: RateLimit) -> str:
        return f"{limit}: {limit.in_words}"


class TopUpForm(forms.Form):
    limit = PrepaidLimitField(
        RateLimit.objects.none(),
        label="Rate limit",
        empty_label=None,
        error_messages={"invalid_choice": "Choose a rate limit from the list."},
    )
    amount = forms.IntegerField(
        min_value=1,
        max_value=2**63 - 1,
        help_text="Requests, tokens or microcents, as the rate limit counts. 100,000,000 microcents are $1.00.",
        error_messages={"min_value": "Enter an amount of 1 or more.", "max_value": "Enter a smaller amount."},
    )

    def __init__(self, user: User, data: Any, initial: Any) -> None:
        super().__init__(data, initial=initial, label_suffix="")
        self.fields["limit"].queryset = totals_of(user)  # type: ignore[attr-defined]

    def top_up(self, author: Author) -> RateLimit | None:
        """None, with the reason in the form, if that isn't possible."""
        try:
            return top_up(self.cleaned_data["limit"], self.cleaned_data["amount"], author)
        except ValidationError as error:
            self.add_error("amount", error)
            return None


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("ratelimits.change_ratelimit")
def user_top_up(request: HttpRequest, pk: int) -> HttpResponse:
    user = changeable_user(request, pk)
    form = TopUpForm(user, request.POST or None, {"limit": request.GET.get("limit")})
    author = Author(request.user, request, operation=new_operation())
    if request.method == "POST" and form.is_valid() and (limit := form.top_up(author)):
        offer_undo_of_limit(request, f"Rate limit “{limit}” topped up: {limit.in_words}.", author, user)
        return redirect("users:detail", user.pk)
    context = {"title": "Top up a rate limit", "form": form, "person": user, "has_totals": totals_of(user).exists()}
    return staff_render(request, "accounts/staff/top_up.html", context)


def offer_undo_of_limit(request: HttpRequest, text: str, author: Author, user: User) -> None:
    offer_undo(request, text, author, FORMER, reverse("users:limit_undo", args=[user.pk]))
