"""Staff pages below /admin/ that stand outside the admin's own lists. Before the admin's in config/urls.py."""

from __future__ import annotations

from django.urls import path

from apikeys.pages import staff_views

urlpatterns = [path("apikeys/hygiene/", staff_views.hygiene_page, name="key_hygiene")]
