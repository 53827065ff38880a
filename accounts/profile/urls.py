from __future__ import annotations

from django.urls import path

from accounts.profile import list_views, views
from accounts.profile.undo_views import ProfileUndoView

app_name = "account"

urlpatterns = [
    path("", views.profile, name="profile"),
    path("undo/", ProfileUndoView.as_view(), name="undo"),
    path("picture/", views.picture, name="picture"),
    path("picture/change/", views.picture_change, name="picture-change"),
    path("picture/remove/", views.picture_remove, name="picture-remove"),
    path("limits/", views.limits, name="limits"),
    path("lists/columns/", list_views.list_columns, name="list-columns"),
    path("lists/views/", list_views.view_list, name="views"),
    path("lists/views/add/", list_views.view_add, name="view-add"),
    path("lists/views/<int:pk>/edit/", list_views.view_edit, name="view-edit"),
    path("lists/views/<int:pk>/default/", list_views.view_default, name="view-default"),
    path("lists/views/<int:pk>/delete/", list_views.DeleteViewView.as_view(), name="view-delete"),
    path("settings/", views.settings_page, name="settings"),
    path("theme/", views.theme, name="theme"),
    path("close/", views.close, name="close"),
]
