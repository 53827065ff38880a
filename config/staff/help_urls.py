from __future__ import annotations

from django.urls import path

from config.staff import help_views

app_name = "help"

urlpatterns = [
    path("", help_views.shortcuts, name="help"),
    path("<path:name>", help_views.page, name="page"),
]
