"""Staff pages under /admin/ratelimits/. Here, because the match tester also takes a user, which ratelimits doesn't know."""

from __future__ import annotations

from django.urls import path

from accounts.staff.forms import UserMatchForm
from config.staff.owners import owners_of
from config.staff.traffic import near_quota_of_active
from ratelimits.pages import views
from ratelimits.plans.import_views import PlanImportView

app_name = "ratelimits"

urlpatterns = [
    path("match/", views.MatchTester.as_view(form_class=UserMatchForm), name="match_tester"),
    path(
        "limited/",
        views.limited_now,
        {"name_owners": owners_of, "find_near_quota": near_quota_of_active},
        name="limited_now",
    ),
    path("limited/reset/", views.reset, name="reset"),
    path("copy/", views.copy, name="copy"),
    path("import/", PlanImportView.as_view(), name="import"),
]
