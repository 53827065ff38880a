from __future__ import annotations

from django.urls import path

from apikeys.usage import views

app_name = "usage"
urlpatterns = [
    path("admin/usage/", views.staff_usage, name="staff"),
    path("admin/ratelimits/what-if/", views.what_if, name="what_if"),
    path("account/usage/", views.account_usage, name="account"),
]
