"""How a throttled form is answered, and when a session was last seen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from http import HTTPStatus

from allauth.usersessions.models import UserSession
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.signin.throttle import is_outage, refused_for
from config.base.http import client_address

SEEN_AT = "seen_at"
# How exact "last seen" is: a row is written no more often than this, in seconds.
SEEN_EVERY = 300


class ThrottledAnswerMiddleware:
    """Give the page of a form that the throttle refused its status and Retry-After: 429, or 503 without a store."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        seconds = refused_for(request)
        if seconds:
            response.status_code = (
                HTTPStatus.SERVICE_UNAVAILABLE if is_outage(request) else HTTPStatus.TOO_MANY_REQUESTS
            )
            response["Retry-After"] = str(seconds)
        return response


class LastSeenMiddleware:
    """Keep the list of sessions true: when and from where each was last used, to within five minutes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        seen_at = request.session.get(SEEN_AT)
        if seen_at and time.time() - seen_at > SEEN_EVERY and request.user.is_authenticated:
            # A database that only reads must not keep people from reading.
            with contextlib.suppress(DatabaseError):
                UserSession.objects.filter(session_key=request.session.session_key).update(
                    last_seen_at=timezone.now(), ip=client_address(request)
                )
                note_the_time(request)
        return self.get_response(request)


def note_the_time(request: HttpRequest) -> None:
    request.session[SEEN_AT] = int(time.time())
