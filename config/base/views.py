"""Decorators for views, and the shell of staff pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.contrib import admin
from django.core.exceptions import (
    BadRequest,
    ObjectDoesNotExist,
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import DataError, IntegrityError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views import defaults

from config.base.models import ConcurrentDeletion
from config.base.stale import ConcurrentChange

MAX_ATTEMPTS = 10

View = Callable[..., HttpResponseBase]

P = ParamSpec("P")
R = TypeVar("R")


def staff_required(*permissions: str) -> Callable[[View], View]:
    """Require access to the admin site and all of `permissions`, such as "accounts.view_user".

    For a class-based view: `@method_decorator(staff_required("accounts.view_user"), name="dispatch")`.
    """

    def decorator(view: View) -> View:
        @wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not admin.site.has_permission(request):
                return admin.site.login(request)
            if not request.user.has_perms(permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return wrapper

    return decorator


def retry_on_conflict(view: View) -> View:
    """Run a view again after a conflict with another request, so that it shows the conflict.

    Once for a unique value, a deleted choice, or a row that has gone or no longer fits since it was looked up. A row that
    changed during validation may change again, so that is tried more often.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        attempts = 0
        while True:
            try:
                return view(request, *args, **kwargs)
            except (IntegrityError, ConcurrentDeletion, ObjectDoesNotExist) as error:
                attempts += 1
                if attempts >= (MAX_ATTEMPTS if isinstance(error, ConcurrentChange) else 2):
                    raise
            uploads: Any = request.FILES.values()
            for upload in uploads:
                upload.seek(0)

    return wrapper


class BadRequestFor:
    """A decorator: 400 if the function raises one of `errors`, with `text` in the log."""

    def __init__(self, *errors: type[Exception], text: str) -> None:
        self.errors, self.text = errors, text

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except self.errors as error:
                raise BadRequest(self.text) from error

        return guarded


# For values the database can't store, such as an id of 10^30.
reject_bad_values = BadRequestFor(OverflowError, DataError, text="A value is out of range.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 413 if a request exceeds one of Django's limits. Django answers 400."""
    if isinstance(exception, (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent)):
        return HttpResponse(render_to_string("413.html"), status=413)
    return defaults.bad_request(request, exception)


def staff_render(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    return render(request, template, admin.site.each_context(request) | context, status=status)
