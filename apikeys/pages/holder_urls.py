"""/account/keys/"""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.urls import path

from apikeys.pages import holder_views
from apikeys.pages import views as key_views
from apikeys.pages.desks import HolderDesk

app_name = "keys"
PAGES = {"detail": holder_views.key_detail, "edit": holder_views.key_edit, **key_views.STEPS}

urlpatterns = [
    path("", holder_views.key_list, name="list"),
    path("new/", holder_views.key_create, name="create"),
    *(
        path(
            "<uuid:key_id>/" if name == "detail" else f"<uuid:key_id>/{name}/",
            login_required(key_views.at(HolderDesk, view)),
            name=name,
        )
        for name, view in PAGES.items()
    ),
]
