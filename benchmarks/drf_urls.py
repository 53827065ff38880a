"""The view of benchmarks/drf_project.py."""

from __future__ import annotations

from typing import Any

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView
from rest_framework_api_key.permissions import KeyParser


class KeyThrottle(SimpleRateThrottle):
    """Keeps a list of the timestamps in the window, which each request reads and writes completely.

    The window is 50 ms, so that the list has about 50 entries, as for a typical key. At the rate of a benchmark, a
    typical window would have thousands.
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
