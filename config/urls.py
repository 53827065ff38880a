"""All URLs, except /livez and /readyz (config.health) and /authz/ (apikeys.gateway), which middleware answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from accounts.profile.views import home
from apikeys.gateway.whoami import whoami
from config.base import branding_views

handler400 = "config.base.views.bad_request"
handler500 = "config.base.unavailable.server_error"

urlpatterns = [
    path("", home, name="home"),
    path("instance/accent.css", branding_views.accent, name="accent"),
    path("instance/logo", branding_views.logo, name="logo"),
    path("account/", include("accounts.profile.urls")),
    path("help/", include("config.staff.help_urls")),
    path("users/", include("accounts.staff.urls")),
    path("accounts/", include("accounts.signin.urls")),
    path("api/v1/whoami", whoami, name="whoami"),
    path("account/keys/", include("apikeys.pages.owner_urls")),
    path("", include("apikeys.usage.urls")),
    path("admin/apikeys/", include("apikeys.pages.staff_urls")),
    path("", include("apikeys.tools.urls")),
    path("admin/ratelimits/", include("config.staff.ratelimit_urls")),
    path("admin/jobs/", include("apikeys.jobs.urls")),
    path("admin/", admin.site.urls),
]
