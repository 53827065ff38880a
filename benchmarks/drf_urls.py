"""The one view of benchmarks/drf_project.py."""

from __future__ import annotations

from typing import Any

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView
from rest_framework_api_key.permissions import KeyParser


class KeyThrottle(SimpleRateThrottle):
    """Keeps a list of the timestamps in the window, which it reads and writes whole for each request.

    The window is 50 ms, so that the list is as long as that of a usual key, some 50 requests: at the speed of a benchmark a
    usual window would hold thousands.
    """

    rate = "all"

    def parse_rate(self, rate: str | None) -> tuple[int, float]:
        return 1_000_000, 0.05

    def get_cache_key(self, request: Request, view: Any) -> str:
        return f"throttle:{KeyParser().get(request)}"


class Protected(APIView):
    throttle_classes = (KeyThrottle,)

    def get(self, request: Request) -> Response:
        return Response({"ok": True})


urlpatterns = [path("", Protected.as_view())]
