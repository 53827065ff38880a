"""The staff page about regular jobs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from apikeys.jobs.runner import run_soon
from apikeys.jobs.schedule import GRACE, scheduled
from apikeys.models import Job
from config.base.history import CHANGE, Author
from config.base.text import period_in_words
from config.base.views import staff_render, staff_required


@staff_required("apikeys.view_job")
@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    jobs = rows()
    context = {
        "title": "Jobs",
        "jobs": jobs,
        "nothing_runs": all(row["state"] == "overdue" for row in jobs),
        "may_run": request.user.has_perm("apikeys.run_job"),
    }
    return staff_render(request, "apikeys/jobs/list.html", context)


def rows() -> list[dict[str, Any]]:
    known = {job.name: job for job in Job.objects.all()}
    return [
        {
            "job": (job := known.get(plan.name)),
            "plan": plan,
            "every": period_in_words(int(plan.every.total_seconds())),
            "state": state_of(job),
        }
        for plan in scheduled()
    ]


def state_of(job: Job | None) -> str:
    if job is None or job.is_overdue(GRACE):
        return "overdue"
    if job.is_running:
        return "running"
    if job.is_ok is None:
        return "waiting"
    return "succeeded" if job.is_ok else "failed"


@staff_required("apikeys.view_job", "apikeys.run_job")
@require_POST
def run_now(request: HttpRequest) -> HttpResponse:
    name = request.POST.get("name", "")
    job = get_object_or_404(Job, name__in=[plan.name for plan in scheduled() if plan.name == name])
    with transaction.atomic():
        is_new = run_soon(job.name)
        if is_new:
            Author(request.user, request).record(job, CHANGE, note="Run now.")
    if is_new:
        messages.success(request, f"The job {job} will start in a few seconds. Reload the page to see how it went.")
    else:
        messages.info(request, f"The job {job} is already running or about to start.")
    return redirect("jobs:list")
