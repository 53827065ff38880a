"""Staff pages under /admin/ratelimits/, behind the admin's own door."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from ratelimits.pages import views

app_name = "ratelimits"
guarded = admin.site.admin_view

urlpatterns = [
    path("match/", guarded(views.match_tester), name="match_tester"),
    path("limited/", guarded(views.limited_now), name="limited_now"),
    path("limited/reset/", guarded(views.reset), name="reset"),
    path("copy/", guarded(views.copy), name="copy"),
    path("what-if/", guarded(views.whatif), name="what_if"),
]
