"""Rate limited views, as in a project that uses Gatehouse's decorator and middleware."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import include, path

from accounts.rate_limits import rate_limited


def shop(request, item=""):
    return HttpResponse("ok")


urlpatterns = [
    path("shop/", shop),
    path("shop/<item>/", shop),
    path("news/<item>/", shop),
    path("decorated/", rate_limited(shop)),
    path("decorated/<item>/", rate_limited(shop)),
    path("costly/", rate_limited(cost=5)(shop)),
    path("shop-decorated/", rate_limited(shop)),
    path("", include("config.urls")),
]
