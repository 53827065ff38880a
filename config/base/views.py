"""What views of every app share: who is let in, how a lost race and an impossible value are answered, the staff shell."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import DataError, IntegrityError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from config.base.models import ConcurrentDeletion
from config.base.stale import ConcurrentChange

MAX_ATTEMPTS = 10

View = Callable[..., HttpResponseBase]

P = ParamSpec("P")
R = TypeVar("R")


def staff_required(*permissions: str) -> Callable[[View], View]:
    """Open a view to whom the admin site lets in, if they have all of `permissions` ("accounts.view_user").

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
    """Run a view again when it lost a race: the next pass sees what won, and shows it as a form error.

    Once for a unique value, or a choice that was deleted meanwhile. A row that changed while it was being checked may do so
    again, when several people work on it.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        passes = 0
        while True:
            try:
                return view(request, *args, **kwargs)
            except (IntegrityError, ConcurrentDeletion) as error:
                passes += 1
                if passes >= (MAX_ATTEMPTS if isinstance(error, ConcurrentChange) else 2):
                    raise
            uploads: Any = request.FILES.values()
            for upload in uploads:
                upload.seek(0)

    return wrapper


class BadRequestFor:
    """A decorator that answers 400, with `text` in the log, when the function raises one of `errors`."""

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


# For values that are beyond what the database can hold, such as an id of 10^30.
reject_bad_values = BadRequestFor(OverflowError, DataError, text="A value is out of range.")


def staff_render(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Render a staff page in the admin's shell."""
    return render(request, template, admin.site.each_context(request) | context, status=status)
