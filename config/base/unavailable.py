"""503 while the database is unavailable: keeps what was typed, and uses a new connection for the next request."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from http import HTTPStatus

from django.contrib.sessions import middleware as sessions
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin
from django.views import defaults

from config.base.database import drop_connection, unavailable_error
from config.base.http import problem
from config.base.logs import without_secrets

logger = logging.getLogger(__name__)

RETRY_AFTER = "5"
# The next page needs what this one stored in the session.
REDIRECTS = {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER}
# Fields left out of the form on the error page.
SECRET_FIELD = re.compile(r"(password\d*|passwd|secret|codes?|credential|otp)$|(^|-)(key|token)$", re.IGNORECASE)


def service_unavailable(request: HttpRequest, error: BaseException) -> HttpResponse:
    logger.error("The database is unavailable for %s %s: %s", request.method, request.path, unavailable_error(error))
    drop_connection()
    if request.accepts("text/html"):
        response = HttpResponse(render_to_string("503.html", page_context(request)), status=503)
    else:
        response = problem(503, "Service unavailable", "The database is unavailable. Try again soon.")
    response["Retry-After"] = RETRY_AFTER
    response["Cache-Control"] = "no-store"
    return response


def page_context(request: HttpRequest) -> dict[str, object]:
    context: dict[str, object] = {"path": request.get_full_path()}
    if request.method != "POST":
        return context
    fields = list(typed(request))
    return context | {
        "is_form": True,
        "fields": fields,
        "left_out": bool(request.FILES) or len(fields) < sum(1 for _ in posted(request)),
        "csrf_token": get_token(request),
    }


def posted(request: HttpRequest) -> Iterator[tuple[str, str]]:
    for name, values in request.POST.lists():
        if name != "csrfmiddlewaretoken":
            yield from ((name, str(value)) for value in values)


def typed(request: HttpRequest) -> Iterator[tuple[str, str]]:
    for name, value in posted(request):
        if not SECRET_FIELD.search(name) and without_secrets(value) == value:
            yield name, value


class DatabaseUnavailableMiddleware(MiddlewareMixin):
    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return service_unavailable(request, error) if unavailable_error(error) else None


class SessionMiddleware(sessions.SessionMiddleware):
    """503 for a session that can't be saved, where Django's answers 400."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            return super().process_response(request, response)
        except (DatabaseError, SessionInterrupted) as error:
            if unavailable_error(error) is None:
                raise
            if request.method in {"GET", "HEAD"} and response.status_code not in REDIRECTS:
                # Show the page: only changes of the session are lost.
                logger.warning("A session could not be saved: %s", unavailable_error(error))
                drop_connection()
                return response
            answer = service_unavailable(request, error)
            # The form on the error page has the CSRF token, which may have been rotated in this request.
            answer.cookies = response.cookies
            return answer


def server_error(request: HttpRequest) -> HttpResponse:
    """Handles errors of other middleware, which don't reach DatabaseUnavailableMiddleware."""
    error = sys.exc_info()[1]
    return (
        defaults.server_error(request)
        if unavailable_error(error) is None
        else service_unavailable(request, error or Exception())
    )
