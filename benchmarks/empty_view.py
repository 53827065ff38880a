"""The yardstick: a new Django project with one view that does nothing; without any middleware if BARE is set."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.startproject import APPS, MIDDLEWARE

BARE = "BARE" in os.environ
settings.configure(
    SECRET_KEY="only-for-benchmarks",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[] if BARE else APPS,
    MIDDLEWARE=[] if BARE else MIDDLEWARE,
    LOGGING_CONFIG=None,
)


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"ok\n", content_type="text/plain")


urlpatterns = [path("", empty)]
application = get_wsgi_application()
