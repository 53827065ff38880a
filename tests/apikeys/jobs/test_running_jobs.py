"""Jobs run when they're due, on one node at a time, and store their result."""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone

from apikeys.jobs import runner
from apikeys.jobs.schedule import GRACE, Scheduled, scheduled
from apikeys.management.commands import run_jobs
from apikeys.models import Job, UsageHour
from tests.apikeys.gateway.servers import gatehouse
from tests.metrics import scrape
from tests.parallel import in_parallel
from tests.rows import make_key, make_usage
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

HOURLY = Scheduled("fold_usage", timedelta(hours=1), "Folds.")


@pytest.fixture
def commands(monkeypatch):
    """Replaces commands: `commands["called"]` has the calls, and `commands[name]` is called in place of the command."""
    called, effects = [], {}

    def call(name, *arguments, stdout, **options):
        called.append((name, *arguments))
        stdout.write(f"Did {name}.\n")
        effects.get(name, lambda: None)()

    monkeypatch.setattr(runner, "call_command", call)
    effects["called"] = called
    return effects


def test_first_run_runs_all_jobs_and_schedules_the_next_run(commands):
    runner.run_due()
    assert [name for name, *_ in commands["called"]] == [
        "fold_usage",
        "notify_expiring_keys",
        "sweep_counters",
        "clearsessions",
        "change_users",
        *(["partition_usage"] if connection.vendor == "postgresql" else []),
    ]
    runner.run_due()
    assert len(commands["called"]) == len(scheduled())
    job = Job.objects.get(name="fold_usage")
    assert (job.is_ok, job.output, job.is_running) == (True, "Did fold_usage.", False)
    assert job.next_at - job.began_at == timedelta(minutes=5)
    assert job.duration > timedelta(0)


def test_run_jobs_once_runs_only_what_is_due(commands):
    call_command("run_jobs", "--once")
    call_command("run_jobs", "--once")
    assert len(commands["called"]) == len(scheduled())


def test_pruning_jobs_are_scheduled_only_if_configured(settings, commands):
    assert {"prune_usage", "purge_deleted"}.isdisjoint(job.name for job in scheduled())
    settings.KEEP_USAGE_DAYS, settings.KEEP_DELETED_DAYS = 90, 30
    runner.run_due()
    assert "prune_usage" in {name for name, *_ in commands["called"]}
    assert ("purge_deleted", "--yes", "--days=30") in commands["called"]


def test_every_scheduled_job_is_a_command_that_accepts_its_arguments(settings):
    settings.KEEP_USAGE_DAYS = settings.KEEP_DELETED_DAYS = 90
    assert {job.name: job.is_ok for job in runner.run_due()} == {job.name: True for job in scheduled()}


def test_failed_job_shows_the_error_without_secrets_and_is_retried(commands, caplog):
    def fail():
        raise ValueError(f"gate_A1b2C3{'x' * 43}")

    commands["notify_expiring_keys"] = fail
    with pytest.raises(CommandError, match=r"^These jobs failed: notify_expiring_keys\.$"):
        call_command("run_jobs", "--once")
    job = Job.objects.get(name="notify_expiring_keys")
    assert (job.is_ok, job.output) == (False, "Did notify_expiring_keys.\nValueError: gate_A1b2C3…")
    assert job.next_at - job.began_at <= timedelta(minutes=6)
    assert "The job notify_expiring_keys failed" in caplog.text
    assert Job.objects.get(name="clearsessions").is_ok


def test_stopped_job_is_released(commands):
    def stop():
        run_jobs.interrupt(signal.SIGTERM, None)

    commands["sweep_counters"] = stop
    with pytest.raises(KeyboardInterrupt):
        runner.run_due()
    job = Job.objects.get(name="sweep_counters")
    assert (job.is_ok, job.is_running) == (False, False)
    assert job.output.endswith("Stopped. It runs again soon.")
    assert job.next_at - job.began_at <= timedelta(minutes=6)


@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_processes_claims_a_job():
    runner.create_missing()
    assert sorted(in_parallel(8, lambda number: runner.claim(HOURLY))) == [False] * 7 + [True]


def test_job_is_taken_over_when_its_lease_ends():
    runner.create_missing()
    assert runner.claim(HOURLY)
    Job.objects.update(next_at=timezone.now())
    assert not runner.claim(HOURLY)
    assert Job.objects.get(name="fold_usage").is_running
    Job.objects.update(leased_until=timezone.now())
    assert runner.claim(HOURLY)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite uses the machine's clock")
@pytest.mark.parametrize("wrong_by", [timedelta(hours=-1), timedelta(hours=1)])
def test_leases_do_not_depend_on_the_nodes_clock(monkeypatch, wrong_by):
    runner.create_missing()
    assert runner.claim(HOURLY)
    actual = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: actual + wrong_by)
    Job.objects.update(next_at=actual)
    assert not runner.claim(HOURLY)
    Job.objects.update(leased_until=actual)
    assert runner.claim(HOURLY)
    claimed = Job.objects.get(name="fold_usage")
    assert abs(claimed.began_at - actual) < timedelta(minutes=30)
    assert abs(claimed.leased_until - actual) < timedelta(minutes=30)


@pytest.mark.django_db(transaction=True)
def test_lease_of_a_long_job_is_extended():
    runner.create_missing()
    runner.claim(HOURLY)
    Job.objects.update(leased_until=timezone.now())
    finished = threading.Event()
    thread = threading.Thread(target=runner.prolong, args=(HOURLY, finished, 0.01))
    thread.start()
    wait_until(lambda: Job.objects.get(name="fold_usage").is_running)
    finished.set()
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_failure_to_extend_a_lease_is_logged(monkeypatch, caplog):
    finished = threading.Event()

    def refuse(**conditions):
        finished.set()
        raise OperationalError("away")

    monkeypatch.setattr(Job.objects, "filter", refuse)
    runner.prolong(HOURLY, finished, 0.01)
    assert "The lease of fold_usage could not be prolonged: away" in caplog.text


def run_until_slept(monkeypatch, times, **options):
    """Run the command until it has slept this many times; returns how many times it did."""
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == times:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run_jobs.time, "sleep", sleep)
    call_command("run_jobs", **options)
    return len(sleeps)


def test_command_runs_until_it_is_stopped(monkeypatch, commands, capsys):
    handler = signal.getsignal(signal.SIGTERM)
    assert run_until_slept(monkeypatch, 3) == 3
    assert len(commands["called"]) == len(scheduled())
    printed = capsys.readouterr().out
    assert "fold_usage: Did fold_usage." in printed
    assert printed.endswith("Stopped running jobs.\n")
    assert signal.getsignal(signal.SIGTERM) == handler


def test_command_ends_with_its_parent_process(monkeypatch, commands):
    assert run_until_slept(monkeypatch, 2, parent=os.getppid()) == 2
    assert run_until_slept(monkeypatch, 2, parent=1_000_000_000) == 0


def test_command_waits_for_an_unavailable_database(monkeypatch, capsys):
    def refuse():
        raise OperationalError("away")

    monkeypatch.setattr(run_jobs, "run_due", refuse)
    assert run_until_slept(monkeypatch, 2) == 2
    assert capsys.readouterr().err.count("Jobs have to wait for the database: away") == 2


def test_metrics_include_jobs(client, commands):
    commands["sweep_counters"] = lambda: 1 / 0
    runner.run_due()
    Job.objects.filter(name="fold_usage").update(next_at=timezone.now() - GRACE)
    Job.objects.filter(name="clearsessions").update(began_at=None)
    seen = scrape(client)
    assert seen["gatehouse_job_succeeded", "fold_usage"] == 1
    assert seen["gatehouse_job_succeeded", "sweep_counters"] == 0
    assert seen["gatehouse_job_overdue", "fold_usage"] == 1
    assert seen["gatehouse_job_overdue", "sweep_counters"] == 0
    began = Job.objects.get(name="sweep_counters").began_at.timestamp()
    assert seen["gatehouse_job_last_run_timestamp_seconds", "sweep_counters"] == pytest.approx(began)
    assert ("gatehouse_job_duration_seconds", "clearsessions") not in seen


@pytest.mark.django_db(transaction=True)
def test_server_with_run_jobs_starts_and_stops_jobs(alice, tmp_path):
    make_usage(make_key(alice), created_at=timezone.now() - timedelta(hours=3))
    with gatehouse(tmp_path, RUN_JOBS="true") as server:
        wait_until(lambda: Job.objects.filter(name="clearsessions", is_ok=True).exists())
        assert UsageHour.objects.exists()
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: Path(server.log).read_text().count("Stopped running jobs.") == 1)
        Job.objects.update(next_at=timezone.now(), is_ok=None)
        wait_until(lambda: Job.objects.filter(name="clearsessions", is_ok=True).exists())
    assert Path(server.log).read_text().count("Stopped running jobs.") == 2
