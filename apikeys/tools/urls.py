from __future__ import annotations

from django.urls import path

from apikeys.tools import views

app_name = "tools"
urlpatterns = [
    path("admin/apikeys/explain/", views.explain_page, name="explain"),
    path("admin/apikeys/connect/", views.connect_page, name="connect"),
    path("admin/apikeys/connect/test/", views.self_test, name="self_test"),
    path("admin/ratelimits/what-if/", views.what_if, name="what_if"),
]
