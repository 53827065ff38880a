from __future__ import annotations

from django.urls import path

from apikeys.usage import request_views, views

app_name = "usage"
urlpatterns = [
    path("admin/usage/", views.staff_usage, name="staff"),
    path("admin/usage/requests/", request_views.staff_requests, name="staff_requests"),
    path("admin/usage/requests/<uuid:pk>/", request_views.staff_request, name="staff_request"),
    path("account/usage/", views.account_usage, name="account"),
    path("account/usage/requests/", request_views.own_requests, name="own_requests"),
    path("account/usage/requests/<uuid:pk>/", request_views.own_request, name="own_request"),
]
