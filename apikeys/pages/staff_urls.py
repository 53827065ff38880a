"""/admin/apikeys/, beside the admin's own pages and before them in config/urls.py."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from apikeys.pages import staff_views as views
from apikeys.pages.actions import ACTIONS

admin_view = admin.site.admin_view

app_name = "staff_keys"
urlpatterns = [
    path("hygiene/", views.HygieneView.as_view(), name="hygiene"),
    path("apikey/find/", admin_view(views.FindKeyView.as_view()), name="find"),
    path("apikey/bulk/", admin_view(views.KeyBulkView.as_view()), name="bulk"),
    *(
        path(
            f"apikey/<uuid:key_id>/{action.name}/",
            admin_view(views.StaffActionView.as_view(action=action)),
            name=action.name,
        )
        for action in ACTIONS
    ),
]
