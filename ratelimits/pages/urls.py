"""Staff pages under /admin/ratelimits/."""

from __future__ import annotations

from django.urls import path

from ratelimits.pages import views

app_name = "ratelimits"

urlpatterns = [
    path("match/", views.match_tester, name="match_tester"),
    path("limited/", views.limited_now, name="limited_now"),
    path("limited/reset/", views.reset, name="reset"),
    path("copy/", views.copy, name="copy"),
]
