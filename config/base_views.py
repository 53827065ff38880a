"""What views of every app share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse


def retry_on_conflict(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Run a view once more when it lost a race for a unique value: the second pass shows it as a form error."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except IntegrityError:
            return view(request, *args, **kwargs)

    return wrapper
