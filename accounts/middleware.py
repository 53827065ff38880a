"""How a throttled form is answered."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

from accounts.throttle import refused_for


class ThrottledAnswerMiddleware:
    """Give the page of a form that the throttle refused its status and Retry-After: 429, or 503 without a store."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        seconds = refused_for(request)
        if seconds:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
            response["Retry-After"] = str(seconds)
        return response
