"""The sections of the admin, and their lists below the page."""

from __future__ import annotations

from django.contrib import admin
from django.test import RequestFactory

SECTIONS = list(admin.site._registry.values())


def path_of(section):
    return f"/admin/{section.opts.app_label}/{section.opts.model_name}/"


def list_of(section):
    """The list itself: without a query, that of users leads to /users/."""
    return f"{path_of(section)}?o="


def changelist(section, user, query):
    """What the pages of a list show to this user for a query, without the pages."""
    request = RequestFactory().get(path_of(section), query)
    request.user = user
    return section.get_changelist_instance(request)
