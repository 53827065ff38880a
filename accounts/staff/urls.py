from __future__ import annotations

from django.urls import path

from accounts.staff import bulk_views
from accounts.staff import views as staff_views
from accounts.staff.access_views import user_access
from accounts.staff.action_views import UserActionView, UserBulkView, UserTierView, UserUndoView
from accounts.staff.actions import ACTIONS, ChangeTier, Erase
from accounts.staff.exports import user_export
from accounts.staff.import_views import UserImportView
from accounts.staff.limit_views import user_top_up
from accounts.staff.own_limit_views import EndLimitView, OwnLimitUndoView, limit_add, limit_edit

app_name = "users"

urlpatterns = [
    path("", staff_views.user_list, name="list"),
    path("export.<str:file_format>", user_export, name="export"),
    path("add/", staff_views.user_create, name="create"),
    path("import/", UserImportView.as_view(), name="import"),
    path("bulk/", UserBulkView.as_view(), name="bulk"),
    path("undo/", UserUndoView.as_view(), name="undo"),
    path("changes/", bulk_views.change_list, name="changes"),
    path("changes/<int:change_pk>/", bulk_views.change_detail, name="change"),
    path("changes/<int:change_pk>/stop/", bulk_views.change_stop, name="change_stop"),
    path("changes/<int:change_pk>/undo/", bulk_views.change_undo, name="change_undo"),
    path("<int:pk>/", staff_views.user_detail, name="detail"),
    path("<int:pk>/edit/", staff_views.user_edit, name="edit"),
    path("<int:pk>/access/", user_access, name="access"),
    path("<int:pk>/top-up/", user_top_up, name="top_up"),
    path("<int:pk>/limits/add/", limit_add, name="limit_add"),
    path("<int:pk>/limits/undo/", OwnLimitUndoView.as_view(), name="limit_undo"),
    path("<int:pk>/limits/<int:limit_pk>/", limit_edit, name="limit_edit"),
    path("<int:pk>/limits/<int:limit_pk>/end/", EndLimitView.as_view(), name="limit_end"),
    path("<int:pk>/picture/", staff_views.user_picture, name="picture"),
    *(
        path(f"<int:pk>/{action.name}/", UserActionView.as_view(action=action), name=action.name)
        for action in (*ACTIONS.values(), Erase())
    ),
    path("<int:pk>/tier/", UserTierView.as_view(action=ChangeTier()), name="tier"),
]
