"""Staff pages below /admin/ that stand outside the admin's own lists. Before the admin's in config/urls.py."""

from __future__ import annotations

from django.urls import path

from apikeys.pages import staff_views
from apikeys.tools import views as tool_views
from apikeys.usage import views as usage_views

urlpatterns = [
    path("apikeys/hygiene/", staff_views.hygiene_page, name="key_hygiene"),
    path("apikeys/explain/", tool_views.explain_page, name="explain_decision"),
    path("apikeys/connect/", tool_views.connect_page, name="connect_gateway"),
    path("apikeys/connect/test/", tool_views.self_test, name="test_gateway"),
    path("usage/", usage_views.staff_usage, name="staff_usage"),
]
