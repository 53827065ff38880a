"""What every template may ask for."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, str]:
    return {"environment_name": settings.ENVIRONMENT_NAME}
