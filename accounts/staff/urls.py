from __future__ import annotations

from django.urls import path, register_converter

from accounts.staff import views as staff_views
from accounts.staff.action_views import UserActionView, UserBulkView
from accounts.staff.actions import ACTIONS, ChangeTier, Erase


class ActionConverter:
    """Only the names of actions: other apps have pages of their own below /users/<pk>/."""

    regex = "|".join(ACTIONS)

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ActionConverter, "account_action")

app_name = "users"

urlpatterns = [
    path("", staff_views.user_list, name="list"),
    path("export.csv", staff_views.user_export, name="export"),
    path("add/", staff_views.user_create, name="create"),
    path("bulk/", UserBulkView.as_view(), name="bulk"),
    path("<int:pk>/", staff_views.user_detail, name="detail"),
    path("<int:pk>/edit/", staff_views.user_edit, name="edit"),
    path("<int:pk>/picture/", staff_views.user_picture, name="picture"),
    path("<int:pk>/tier/", UserActionView.as_view(action=ChangeTier()), name="tier"),
    path("<int:pk>/erase/", UserActionView.as_view(action=Erase()), name="erase"),
    path("<int:pk>/<account_action:slug>/", UserActionView.as_view(), name="act"),
]
