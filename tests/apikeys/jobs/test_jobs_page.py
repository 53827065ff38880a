"""The staff page about jobs: their last runs, and “Run now”."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from apikeys.jobs import runner
from apikeys.jobs.schedule import scheduled
from apikeys.models import Job
from config.base.history import describe
from tests.rows import make_staff

pytestmark = pytest.mark.django_db

URL = "/admin/jobs/"


def page(client):
    response = client.get(URL)
    assert response.status_code == 200
    return response.content.decode()


def test_page_explains_how_to_start_jobs_that_never_ran(staff_client):
    text = page(staff_client)
    assert "These jobs aren't running." in text
    assert text.count("badge-danger") == len(scheduled())
    assert "/admin/jobs/run/" not in text


def test_page_shows_the_last_run_of_each_job(staff_client, django_assert_max_num_queries):
    runner.create_missing()
    now = timezone.now()
    ran = {
        "began_at": now,
        "duration": timedelta(seconds=1.25),
        "output": "Folded <b>2</b> hours.",
        "next_at": now + timedelta(hours=1),
    }
    Job.objects.filter(name="fold_usage").update(is_ok=True, **ran)
    Job.objects.filter(name="sweep_counters").update(is_ok=False, **ran)
    Job.objects.filter(name="clearsessions").update(leased_until=now + timedelta(minutes=1))
    with django_assert_max_num_queries(8):
        text = page(staff_client)
    for state in ("succeeded", "failed", "running", "waiting"):
        assert f">{state}</span>" in text
    assert "1.3 s" in text
    assert "Folded &lt;b&gt;2&lt;/b&gt; hours." in text
    assert "These jobs aren't running." not in text


def test_run_now_makes_a_job_due_once_and_is_logged(staff_client, sue):
    runner.create_missing()
    Job.objects.update(next_at=timezone.now() + timedelta(hours=1))
    response = staff_client.post(f"{URL}run/", {"name": "fold_usage"}, follow=True)
    assert "The job fold_usage will start in a few seconds." in response.content.decode()
    assert Job.objects.get(name="fold_usage").next_at <= timezone.now()
    again = staff_client.post(f"{URL}run/", {"name": "fold_usage"}, follow=True)
    assert "is already running or about to start" in again.content.decode()
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr, describe(entry).summary) == (sue, "fold_usage", "Run now.")
    assert staff_client.get(f"/admin/admin/logentry/{entry.pk}/change/").status_code == 200


def test_running_job_is_not_made_due(staff_client):
    runner.create_missing()
    later = timezone.now() + timedelta(hours=1)
    Job.objects.update(next_at=later, leased_until=later)
    staff_client.post(f"{URL}run/", {"name": "fold_usage"})
    assert Job.objects.get(name="fold_usage").next_at == later


@pytest.mark.parametrize("name", ["", "migrate", "fold_usage\0", "x" * 5000, "prune_usage"])
def test_only_scheduled_jobs_can_be_run(staff_client, name):
    runner.create_missing()
    Job.objects.create(name="prune_usage")  # left from when it was scheduled
    assert staff_client.post(f"{URL}run/", {"name": name}).status_code == 404


def test_staff_who_can_only_view_jobs_cannot_run_them(client, free):
    runner.create_missing()
    client.force_login(make_staff("viv", "apikeys.view_job"))
    assert "Run now" not in page(client)
    assert client.post(f"{URL}run/", {"name": "fold_usage"}).status_code == 403
    client.force_login(make_staff("rob", "apikeys.view_job", "apikeys.run_job"))
    assert "Run now" in page(client)
