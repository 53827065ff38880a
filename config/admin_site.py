"""The staff site: Django's admin with our sections, dashboard and look."""

from __future__ import annotations

from django.contrib.admin import AdminSite


class GatehouseAdminSite(AdminSite):
    site_title = "Gatehouse"
    site_header = "Gatehouse"
    index_title = "Overview"
    site_url = "/account/"
    # templates/admin/base_site.html has a side bar of its own.
    enable_nav_sidebar = False
