"""/account/keys/"""

from __future__ import annotations

from django.urls import path

from apikeys.pages import owner_views as views
from apikeys.pages.actions import ACTIONS

app_name = "keys"
urlpatterns = [
    path("", views.KeyListView.as_view(), name="list"),
    path("undo/", views.OwnerUndoView.as_view(), name="undo"),
    path("new/", views.OwnerCreateView.as_view(), name="create"),
    path("<uuid:key_id>/", views.KeyDetailView.as_view(), name="detail"),
    path("<uuid:key_id>/edit/", views.OwnerEditView.as_view(), name="edit"),
    *(
        path(f"<uuid:key_id>/{action.name}/", views.OwnerActionView.as_view(action=action), name=action.name)
        for action in ACTIONS
    ),
]
