from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import User
from config.middleware import Middleware


class TimeZoneMiddleware(Middleware):
    """Use the time zone of the signed-in user for all times. For visitors, use UTC."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        with timezone.override(user.zone if isinstance(user, User) else None):
            return self.get_response(request)
