"""The staff site: Django's admin with our sections, dashboard and look."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry

from config.history_admin import HistoryAdmin


class GatehouseAdminSite(AdminSite):
    site_title = "Gatehouse"
    site_header = "Gatehouse"
    index_title = "Overview"
    site_url = "/account/"
    # templates/admin/base_site.html has a side bar of its own.
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.register(LogEntry, HistoryAdmin)
