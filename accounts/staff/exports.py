"""Exports of users: those that match the filters of the list, or those that are selected in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.staff.filters import UserFilter
from config.base.export import CHUNK, FORMATS, export
from config.base.views import staff_required

HEADER = ("id", "name", "username", "email", "tier", "state", "staff", "joined", "last_sign_in", "deleted")


@require_safe
@staff_required("accounts.view_user")
def user_export(request: HttpRequest, file_format: str) -> HttpResponseBase:
    if file_format not in FORMATS:
        raise Http404
    return export_users(request, file_format, UserFilter(request.GET, queryset=User.objects.all()).qs)


def export_users(request: HttpRequest, file_format: str, users: UserQuerySet) -> HttpResponseBase:
    return export(request, file_format, "users", HEADER, values_of(users))


def values_of(users: UserQuerySet) -> Iterator[tuple[Any, ...]]:
    for user in users.select_related("tier").iterator(chunk_size=CHUNK):
        yield (
            user.pk,
            user.name,
            user.username,
            user.email,
            user.tier,
            user.state,
            user.is_staff,
            user.created_at,
            user.last_login,
            user.deleted_at,
        )
