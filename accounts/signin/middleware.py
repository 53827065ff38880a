from __future__ import annotations

import contextlib
import time
from http import HTTPStatus

from allauth.usersessions.models import UserSession
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.signin.throttle import is_outage, retry_after
from config.base.http import client_address
from config.middleware import Middleware

SEEN_AT = "seen_at"
# Seconds between two writes of "last seen".
SEEN_EVERY = 300


class ThrottledResponseMiddleware(Middleware):
    """Answer 429, or 503 if the store is unavailable, with Retry-After when a form was throttled."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if seconds := retry_after(request):
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_outage(request) else HTTPStatus.TOO_MANY_REQUESTS
            response.status_code = status
            response["Retry-After"] = str(seconds)
        return response


class LastSeenMiddleware(Middleware):
    """Note when and from where each session was last used, to within five minutes."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        seen_at = request.session.get(SEEN_AT)
        if seen_at and time.time() - seen_at > SEEN_EVERY and request.user.is_authenticated:
            # Pages stay readable while the database is read-only.
            with contextlib.suppress(DatabaseError):
                UserSession.objects.filter(session_key=request.session.session_key).update(
                    last_seen_at=timezone.now(), ip=client_address(request)
                )
                mark_seen(request)
        return self.get_response(request)


def mark_seen(request: HttpRequest) -> None:
    request.session[SEEN_AT] = int(time.time())
