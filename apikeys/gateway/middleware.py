"""Answer gateways before anything else runs, and protect an adopter's own paths by key."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apikeys.gateway.answers import Approval
from apikeys.gateway.decorators import admit, with_limits
from apikeys.gateway.endpoints import PREFIX, respond
from config.middleware import Middleware, machine_headers


class GatewayMiddleware(Middleware):
    """Answer /authz/ where the server is not config.asgi: in tests, with runserver or any WSGI server.

    Must be first: gateways send the client's Host and need no session.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        answer = respond(request.META)
        response = answer.as_response() if isinstance(answer, Approval) else answer
        # CommonMiddleware would do this. Without it, the response would be chunked.
        response.headers["Content-Length"] = str(len(response.content))
        for name, value in machine_headers(request.META):
            response.headers[name] = value
        return response


class KeyRequiredMiddleware(Middleware):
    """Require a key for every view below the paths in API_KEY_REQUIRED; `request.verdict` tells the view who asks.

    Optional: add it to MIDDLEWARE between CommonMiddleware and CsrfViewMiddleware. A view with `require_key` of its own is
    left to it, and a request that meets no view (404, or a redirect to the path with a slash) costs nothing.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        return with_limits(response, request) if hasattr(request, "verdict") else response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if getattr(view, "requires_key", False) or not request.path_info.startswith(tuple(settings.API_KEY_REQUIRED)):
            return None
        # Unlike a cookie, a key is never sent by a browser on its own.
        request.csrf_processing_done = True  # type: ignore[attr-defined]
        return admit(request)
