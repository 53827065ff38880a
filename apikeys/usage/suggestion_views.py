"""Users and keys for the filters of the usage pages, as you type."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from accounts.models import User
from apikeys.models import APIKey
from config.base.filters import MAX_SEARCH_LENGTH
from config.base.views import staff_required

MAX_SUGGESTED = 8


# By POST, because what is typed may be a secret.
@require_POST
@staff_required("apikeys.view_keyusage", "accounts.view_user")
def suggest_users(request: HttpRequest) -> HttpResponseBase:
    users = matching(User.objects.all(), typed(request))
    return answer((user.username, user.name, f"{user.username} · {user.email}") for user in users)


@require_POST
@sensitive_post_parameters("q")
@sensitive_variables()
@staff_required("apikeys.view_keyusage", "apikeys.view_apikey")
def suggest_keys(request: HttpRequest) -> HttpResponseBase:
    keys = matching(APIKey.objects.select_related("user"), typed(request))
    return answer((str(key.pk), key.name, f"{key.shown_as} · {key.user} · {key.state}") for key in keys)


def typed(request: HttpRequest) -> str:
    return request.POST.get("q", "").replace("\0", "").strip()[:MAX_SEARCH_LENGTH]


def matching(rows: Any, text: str) -> Any:
    """A few of the newest rows. Deleted ones, too: their requests are still there."""
    return rows.order_by("-created_at", "-pk").matching(text)[:MAX_SUGGESTED] if text else ()


def answer(rows: Any) -> JsonResponse:
    return JsonResponse({"suggestions": [dict(zip(("value", "label", "about"), row, strict=True)) for row in rows]})
