"""The baseline: a new Django project with one view that does nothing."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.startproject import APPS, MIDDLEWARE

settings.configure(
    SECRET_KEY="only-for-benchmarks",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=APPS,
    MIDDLEWARE=MIDDLEWARE,
    LOGGING_CONFIG=None,
)


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"ok\n", content_type="text/plain")


urlpatterns = [path("", empty)]
application = get_wsgi_application()
