"""/account/lists/: what people set for the lists they see."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from accounts.models import ListSetting
from accounts.profile.lists import PAGES

MAX_COLUMNS = 50
NAME = re.compile(r"[a-z0-9_]{1,50}")


class NamesField(forms.MultipleChoiceField):
    """Names of columns. Which of them a list has is only known to the list, and it ignores others."""

    def valid_value(self, value: Any) -> bool:
        return NAME.fullmatch(value) is not None

    def clean(self, value: Any) -> list[str]:
        names: list[str] = super().clean(value)
        if len(names) > MAX_COLUMNS:
            raise forms.ValidationError("Choose fewer columns.")
        return names


class ColumnsForm(forms.Form):
    page = forms.ChoiceField(choices=list(PAGES.items()))
    columns = NamesField(required=False)


@require_POST
@login_required
def list_columns(request: HttpRequest) -> HttpResponseRedirect:
    form = ColumnsForm(request.POST)
    if not form.is_valid():
        raise BadRequest("This isn't a list with columns.")
    user: Any = request.user
    page, columns = form.cleaned_data["page"], form.cleaned_data["columns"]
    chosen = None if "reset" in request.POST else columns
    ListSetting.objects.update_or_create(user=user, page=page, defaults={"columns": chosen})
    return back_to_list(request, page)


def back_to_list(request: HttpRequest, page: str) -> HttpResponseRedirect:
    """To where the person came from, or to the list."""
    wanted = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(wanted if is_ours else reverse(page))
