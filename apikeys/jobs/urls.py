from __future__ import annotations

from django.urls import path

from apikeys.jobs import views

app_name = "jobs"
urlpatterns = [
    path("", views.job_list, name="list"),
    path("run/", views.run_now, name="run"),
]
