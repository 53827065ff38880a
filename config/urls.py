"""Every URL of the project starts here."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from accounts.profile.views import home
from config import health

handler500 = "config.base.refusals.server_error"

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("", home, name="home"),
    path("account/", include("accounts.profile.urls")),
    path("users/", include("accounts.staff.urls")),
    path("accounts/", include("accounts.signin.urls")),
    path("", include("apikeys.gateway.urls")),
    path("account/keys/", include("apikeys.pages.holder_urls")),
    path("", include("apikeys.usage.urls")),
    path("admin/", include("apikeys.staff_urls")),
    path("admin/apikeys/", include("apikeys.tools.urls")),
    path("admin/ratelimits/", include("config.staff.ratelimit_urls")),
    path("admin/", admin.site.urls),
]
