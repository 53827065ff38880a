"""Every URL of the project starts here."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from accounts.profile_views import home
from apikeys import usage_views
from config import health
from ratelimits.views import account_limits

handler500 = "config.base_refusals.server_error"

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("", home, name="home"),
    path("account/limits/", account_limits, name="account_limits"),
    path("account/", include("accounts.profile_urls")),
    path("users/", include("accounts.staff_urls")),
    path("accounts/", include("accounts.signin_urls")),
    path("", include("apikeys.machine_urls")),
    path("account/keys/", include("apikeys.holder_urls")),
    path("account/usage/", usage_views.holder_usage, name="holder_usage"),
    path("admin/", include("apikeys.staff_urls")),
    path("admin/ratelimits/", include("ratelimits.urls")),
    path("admin/", admin.site.urls),
]
