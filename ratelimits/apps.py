from __future__ import annotations

from django.apps import AppConfig


class RateLimitsConfig(AppConfig):
    name = "ratelimits"
    verbose_name = "Rate limits"

    def ready(self) -> None:
        from ratelimits import checks  # noqa: F401, PLC0415  (system checks register themselves when apps are ready)
