from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    return {"environment_name": settings.ENVIRONMENT_NAME, "signup_is_open": settings.SIGNUP_OPEN}
