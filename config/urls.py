"""Every URL of the project starts here."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from accounts.profile import urls as profile_urls
from accounts.profile.views import home
from config import health
from ratelimits.pages.views import account_limits

handler500 = "config.base.refusals.server_error"

account_urlpatterns = [*profile_urls.urlpatterns, path("limits/", account_limits, name="limits")]
urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("", home, name="home"),
    path("account/", include((account_urlpatterns, "account"))),
    path("users/", include("accounts.staff.urls")),
    path("accounts/", include("accounts.signin.urls")),
    path("", include("apikeys.gateway.urls")),
    path("account/keys/", include("apikeys.pages.holder_urls")),
    path("", include("apikeys.usage.urls")),
    path("admin/", include("apikeys.staff_urls")),
    path("admin/apikeys/", include("apikeys.tools.urls")),
    path("admin/ratelimits/", include("ratelimits.pages.urls")),
    path("admin/", admin.site.urls),
]
