"""Helpers for tests of every admin section: URLs, and changelists without rendering a page."""

from __future__ import annotations

from django.contrib import admin
from django.test import RequestFactory

SECTIONS = list(admin.site._registry.values())


def list_path(section):
    return f"/admin/{section.opts.app_label}/{section.opts.model_name}/"


def list_url(section):
    """With a query, because the list of users redirects to /users/ without one."""
    return f"{list_path(section)}?o="


def changelist(section, user, query):
    """The changelist for this user and query, without rendering a page."""
    request = RequestFactory().get(list_path(section), query)
    request.user = user
    return section.get_changelist_instance(request)
