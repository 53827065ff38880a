"""Bulk changes of many users: a job makes them in steps, and a page shows the progress."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone

from accounts.models import BulkChange, BulkStep, User
from accounts.staff import bulk, bulk_views
from apikeys.jobs import runner
from apikeys.models import Job
from config.base.history import CHANGE, Author
from tests.accounts.people import ALL_USER_PERMISSIONS, history, messages, signed_in
from tests.conftest import make_user
from tests.pages import forms_in
from tests.parallel import in_parallel
from tests.rows import make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(bulk, "MAX_AT_ONCE", 4)
    monkeypatch.setattr(bulk, "STEP", 2)


@pytest.fixture
def movers(free):
    return [make_user(f"mover{number}", tier=free) for number in range(5)]


@pytest.fixture
def data(pro):
    return {"action": "tier", "tier": str(pro.pk), "everything": "1", "expected": "5"}


def confirm(client, data, **options):
    """Confirm a bulk change. Return the change that the user is redirected to."""
    response = client.post("/users/bulk/?q=mover", data, **options)
    change = BulkChange.objects.get()
    assert response.url == f"/users/changes/{change.pk}/"
    return change


def run():
    output = StringIO()
    call_command("change_users", stdout=output)
    return output.getvalue()


def page(client, change, status=200):
    response = client.get(f"/users/changes/{change.pk}/")
    assert response.status_code == status
    return response, response.content.decode()


def test_a_job_changes_many_users_and_the_history_names_the_author(staff_client, sue, movers, pro, data):
    change = confirm(staff_client, data, REMOTE_ADDR="192.0.2.9")
    assert not User.objects.filter(tier=pro).exists()
    assert [str(step) for step in BulkStep.objects.order_by("pk")] == [f"{change.pk}: {count}" for count in (2, 2, 1)]
    late = make_user("mover_late")
    assert run() == "Move 5 users to pro: succeeded\n0 changes left to make.\n"
    assert set(User.objects.filter(tier=pro)) == set(movers)
    assert late.tier != pro
    (entry,) = history(movers[0])
    assert entry.values == [{"field": "tier", "old": "free", "new": "pro"}]
    assert (entry.ip, entry.via) == ("192.0.2.9", "bulk change")
    change.refresh_from_db()
    assert (change.handled, change.done, change.refused, change.state) == (5, 5, 0, "succeeded")
    assert not BulkStep.objects.waiting().exists()


def test_small_selections_are_changed_immediately(staff_client, movers, pro, data):
    response = staff_client.post(
        "/users/bulk/?q=mover", data | {"everything": "", "pk": [movers[0].pk], "expected": "1"}
    )
    assert response.url == "/users/?q=mover"
    assert User.objects.filter(tier=pro).count() == 1
    assert not BulkChange.objects.exists()


def test_the_page_shows_the_progress_and_reloads_until_the_end(staff_client, movers, data):
    change = confirm(staff_client, data)
    response, text = page(staff_client, change)
    assert response["Refresh"] == "3"
    assert "waiting</span>" in text
    assert "0 of 5 users" in text
    assert bulk.take_step(change.pk)
    response, text = page(staff_client, change)
    assert response["Refresh"] == "3"
    assert "running</span>" in text
    assert '<progress max="5" value="2"' in text
    run()
    response, text = page(staff_client, change)
    assert "Refresh" not in response
    assert "succeeded</span>" in text
    assert "5 of 5 users" in text
    assert "Stop</button>" not in text


def test_an_interrupted_run_continues_where_it_stopped(staff_client, movers, pro, data, monkeypatch):
    confirm(staff_client, data)
    perform, steps = bulk.perform, []

    def interrupt_second_step(*arguments):
        steps.append(1)
        outcome = perform(*arguments)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(bulk, "perform", interrupt_second_step)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert User.objects.filter(tier=pro).count() == 2
    assert BulkChange.objects.get().handled == 2
    run()
    assert User.objects.filter(tier=pro).count() == 5
    assert [len(history(mover)) for mover in movers] == [1] * 5


def test_a_run_leaves_time_for_other_jobs(staff_client, movers, data):
    change = confirm(staff_client, data)
    bulk.work(-1, str)
    change.refresh_from_db()
    assert (change.handled, change.state) == (2, "running")


def test_the_job_runs_as_soon_as_there_is_a_change(staff_client, movers, data):
    runner.create_missing()
    Job.objects.update(next_at=timezone.now() + timedelta(hours=1))
    assert runner.run_due() == []
    confirm(staff_client, data)
    (job,) = runner.run_due()
    assert (job.name, job.is_ok) == ("change_users", True)
    assert BulkChange.objects.get().state == "succeeded"
    assert runner.run_due() == []


def test_permissions_are_checked_again_for_each_step(movers, pro, data):
    steve = make_staff("steve", *ALL_USER_PERMISSIONS)
    change = confirm(signed_in(steve), data)
    bulk.take_step(change.pk)
    steve.user_permissions.remove(Permission.objects.get(codename="change_user"))
    new_staff = User.objects.filter(pk=movers[4].pk)
    new_staff.update(is_staff=True)
    run()
    change.refresh_from_db()
    assert (change.state, change.done) == ("stopped", 2)
    assert change.error == "“steve” no longer has permission to do this."
    assert User.objects.filter(tier=pro).count() == 2


def test_users_the_author_can_no_longer_change_are_skipped(movers, pro, data):
    steve = make_staff("steve", *ALL_USER_PERMISSIONS)
    change = confirm(signed_in(steve), data)
    User.objects.filter(pk=movers[4].pk).update(is_staff=True)
    movers[3].delete()
    run()
    change.refresh_from_db()
    assert (change.state, change.done, change.unchanged) == ("succeeded", 3, 2)
    assert "2 users that this no longer applies to" in page(signed_in(steve), change)[1]


@pytest.mark.parametrize("lost", [{"is_active": False}, {"is_staff": False}])
def test_a_change_by_an_author_without_access_is_stopped(movers, data, lost):
    steve = make_staff("steve", *ALL_USER_PERMISSIONS)
    change = confirm(signed_in(steve), data)
    User.objects.filter(pk=steve.pk).update(**lost)
    run()
    change.refresh_from_db()
    assert (change.state, change.handled) == ("stopped", 0)


def test_a_change_to_a_removed_tier_fails(staff_client, movers, free, pro, data):
    change = confirm(staff_client, data)
    pro.hard_delete()
    run()
    change.refresh_from_db()
    assert change.error == "The tier no longer exists."
    assert User.objects.filter(tier=free, username__startswith="mover").count() == 5


def test_users_can_be_moved_to_no_tier(staff_client, movers, data):
    confirm(staff_client, data | {"tier": ""})
    run()
    assert User.objects.filter(tier=None, username__startswith="mover").count() == 5


def test_users_that_cannot_be_changed_are_counted_and_the_first_ones_shown(staff_client, movers, monkeypatch):
    User.objects.filter(pk__in=[user.pk for user in movers]).delete()
    for user in movers[:2]:
        make_user(user.username)
    response = staff_client.post(
        "/users/bulk/?state=deleted", {"action": "restore", "everything": "1", "expected": "5"}
    )
    change = BulkChange.objects.get()
    assert response.url == change.get_absolute_url()
    run()
    change.refresh_from_db()
    assert (change.done, change.refused, change.state) == (3, 2, "succeeded")
    assert "User “mover0” can&#x27;t be restored" in page(staff_client, change)[1]


def test_an_unexpected_error_is_logged_and_shown(staff_client, movers, data, monkeypatch, caplog):
    change = confirm(staff_client, data)
    monkeypatch.setattr(bulk, "perform", lambda *arguments: 1 / 0)
    run()
    change.refresh_from_db()
    assert change.error == "ZeroDivisionError: division by zero"
    assert "A bulk change failed" in caplog.text
    assert "division by zero" in page(staff_client, change)[1]


def test_a_change_waits_while_the_database_is_unavailable(staff_client, movers, data, monkeypatch):
    change = confirm(staff_client, data)

    def fail(*arguments):
        raise OperationalError("The database is down.")

    monkeypatch.setattr(bulk, "perform", fail)
    with pytest.raises(OperationalError):
        run()
    change.refresh_from_db()
    assert change.state == "waiting"


def test_a_change_can_be_stopped(staff_client, movers, pro, data):
    change = confirm(staff_client, data)
    bulk.take_step(change.pk)
    response = staff_client.post(f"/users/changes/{change.pk}/stop/", follow=True)
    assert messages(response) == ["Stopped. Users who were already changed stay changed."]
    assert "Stopped by “sue”. The other users weren't changed." in response.content.decode()
    assert not bulk.take_step(change.pk)
    assert User.objects.filter(tier=pro).count() == 2
    again = staff_client.post(f"/users/changes/{change.pk}/stop/", follow=True)
    assert messages(again) == ["This change has already finished."]


def test_stopping_a_change_requires_the_permission_to_make_it(staff_client, movers, data):
    change = confirm(staff_client, data)
    viewer = signed_in(make_staff("victor", "view_user"))
    assert "Stop</button>" not in page(viewer, change)[1]
    assert viewer.post(f"/users/changes/{change.pk}/stop/").status_code == 403
    assert not BulkChange.objects.get().is_finished


def test_the_page_says_so_if_no_job_runs(staff_client, movers, data, monkeypatch):
    change = confirm(staff_client, data)
    assert "manage.py run_jobs" not in page(staff_client, change)[1]
    monkeypatch.setattr(bulk_views, "STALLED_AFTER", timedelta(0))
    assert "manage.py run_jobs" in page(staff_client, change)[1]


def test_the_list_of_changes_is_paginated_in_few_queries(staff_client, sue, django_assert_max_num_queries):
    assert "No bulk changes yet." in staff_client.get("/users/changes/").content.decode()
    for number in range(30):
        BulkChange.objects.create(author=sue, action="delete", title=f"Delete {number} users", total=number)
    with django_assert_max_num_queries(8):
        text = staff_client.get("/users/changes/").content.decode()
    assert text.count("/users/changes/") >= 25
    assert "Delete 29 users" in text
    assert "Delete 4 users" not in text
    assert "Delete 4 users" in staff_client.get("/users/changes/?page=2").content.decode()


def test_the_list_of_users_links_to_running_changes(staff_client, movers, data):
    assert "Move 5 users" not in staff_client.get("/users/").content.decode()
    change = confirm(staff_client, data)
    text = staff_client.get("/users/").content.decode()
    assert f'<a href="{change.get_absolute_url()}">Move 5 users to pro</a>' in text
    run()
    assert "Move 5 users" not in staff_client.get("/users/").content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_two_processes_change_each_user_once(staff_client, movers, data):
    confirm(staff_client, data)
    in_parallel(2, lambda number: bulk.work(60, str))
    assert [len(history(mover)) for mover in movers] == [1] * 5
    assert BulkChange.objects.get().done == 5


# --- Undo ---


def undo(client, change):
    (form,) = [form for form in forms_in(page(client, change)[1]) if form.address.endswith("/undo/")]
    return client.post(form.address, form.sent)


def test_a_finished_change_is_undone_by_a_job(staff_client, sue, movers, free, pro, data):
    change = confirm(staff_client, data)
    run()
    Author(sue).record(movers[1], CHANGE, note="Looked at.")
    response = undo(staff_client, change)
    undo_change = BulkChange.objects.get(undoes=change)
    assert response.url == f"/users/changes/{undo_change.pk}/"
    assert "Undone: <a" in page(staff_client, change)[1]
    assert "This undoes <a" in page(staff_client, undo_change)[1]
    run()
    assert list(User.objects.filter(tier=pro)) == [movers[1]]
    assert history(movers[0])[0].values == [{"field": "tier", "old": "pro", "new": "free"}]
    assert history(movers[0])[0].via == "undo"
    undo_change.refresh_from_db()
    assert (undo_change.total, undo_change.handled, undo_change.done, undo_change.refused) == (5, 5, 4, 1)
    assert undo_change.reasons == ["“mover1” was changed by sue just now, so it wasn't undone."]
    assert [form for form in forms_in(page(staff_client, undo_change)[1]) if form.address.endswith("/undo/")] == []


@pytest.mark.parametrize("action", ["suspend", "delete", "restore"])
def test_suspensions_deletions_and_restores_can_be_undone(staff_client, movers, action):
    if action == "restore":
        User.objects.filter(username__startswith="mover").delete()
    before = list(User.objects.order_by("pk").values_list("pk", "is_active", "is_deleted"))
    query = "?q=mover&state=deleted" if action == "restore" else "?q=mover"
    staff_client.post(f"/users/bulk/{query}", {"action": action, "everything": "1", "expected": "5"})
    run()
    changed = list(User.objects.order_by("pk").values_list("pk", "is_active", "is_deleted"))
    assert changed != before
    undo(staff_client, BulkChange.objects.get())
    run()
    assert list(User.objects.order_by("pk").values_list("pk", "is_active", "is_deleted")) == before


def test_a_stopped_change_can_be_undone(staff_client, movers, pro, data):
    change = confirm(staff_client, data)
    assert bulk.take_step(change.pk)
    assert not bulk.can_undo(BulkChange.objects.get())
    bulk.stop(change.pk, "sue")
    undo(staff_client, change)
    run()
    assert not User.objects.filter(tier=pro).exists()
    assert BulkChange.objects.get(undoes=change).done == 2


def test_a_change_that_changed_no_one_cannot_be_undone(staff_client, movers, free, data):
    change = confirm(staff_client, data | {"tier": str(free.pk), "action": "suspend"})
    User.objects.filter(username__startswith="mover").update(is_active=False)
    run()
    assert "/undo/" not in page(staff_client, change)[1]
    url = f"/users/changes/{change.pk}/undo/"
    expected = ["This change can't be undone, or is already being undone."]
    assert messages(staff_client.post(url, follow=True)) == expected
    assert BulkChange.objects.count() == 1


def test_a_change_can_be_undone_only_once(staff_client, movers, data):
    change = confirm(staff_client, data)
    run()
    url = f"/users/changes/{change.pk}/undo/"
    assert staff_client.post(url).url != staff_client.post(url).url == f"/users/changes/{change.pk}/"
    assert BulkChange.objects.filter(undoes=change).count() == 1


def test_undo_requires_the_permission_for_the_opposite_action(staff_client, movers):
    User.objects.filter(username__startswith="mover").delete()
    sent = {"action": "restore", "everything": "1", "expected": "5"}
    staff_client.post("/users/bulk/?q=mover&state=deleted", sent)
    run()
    change = BulkChange.objects.get()
    reader = signed_in(make_staff("reader", "accounts.view_user", "accounts.change_user"))
    assert "/undo/" not in page(reader, change)[1]
    assert reader.post(f"/users/changes/{change.pk}/undo/").status_code == 403
