from __future__ import annotations

from django.urls import path

from apikeys.tools import views

app_name = "tools"
urlpatterns = [
    path("explain/", views.explain_page, name="explain"),
    path("connect/", views.connect_page, name="connect"),
    path("connect/test/", views.self_test, name="self_test"),
]
