"""A stock Django admin with the same models."""

from __future__ import annotations

from django.contrib.admin import AdminSite, ModelAdmin
from django.urls import path

from accounts.models import User
from apikeys.models import APIKey


class UserAdmin(ModelAdmin):
    list_display = ("username", "name", "email", "tier", "is_active", "last_login")
    list_select_related = ("tier",)
    search_fields = ("username", "name", "email")
    ordering = ("-created_at", "-pk")


class KeyAdmin(ModelAdmin):
    list_display = ("name", "user", "prefix", "is_active", "last_used_at", "expires_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__username", "user__email")
    ordering = ("-created_at", "-pk")


site = AdminSite()
site.register(User, UserAdmin)
site.register(APIKey, KeyAdmin)

urlpatterns = [path("admin/", site.urls)]
