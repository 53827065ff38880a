from __future__ import annotations

from django.urls import path

from accounts.profile import views
from accounts.profile.list_views import list_columns

app_name = "account"

urlpatterns = [
    path("", views.profile, name="profile"),
    path("picture/", views.picture, name="picture"),
    path("picture/change/", views.picture_change, name="picture-change"),
    path("picture/remove/", views.picture_remove, name="picture-remove"),
    path("limits/", views.limits, name="limits"),
    path("lists/columns/", list_columns, name="list-columns"),
    path("close/", views.close, name="close"),
]
