from __future__ import annotations

from django.urls import path

from apikeys.usage import request_views, suggestion_views, views

app_name = "usage"
urlpatterns = [
    path("admin/usage/", views.staff_usage, name="staff"),
    path("admin/usage/requests/", request_views.staff_requests, name="staff_requests"),
    path("admin/usage/requests/<uuid:pk>/", request_views.staff_request, name="staff_request"),
    path("admin/usage/suggest/users/", suggestion_views.suggest_users, name="suggest_users"),
    path("admin/usage/suggest/keys/", suggestion_views.suggest_keys, name="suggest_keys"),
    path("account/usage/", views.account_usage, name="account"),
    path("account/usage/requests/", request_views.own_requests, name="own_requests"),
    path("account/usage/requests/<uuid:pk>/", request_views.own_request, name="own_request"),
]
