"""History in the admin: changes are recorded with old and new values, user and address."""

from __future__ import annotations

import json

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType

from config.base.admin import inline_note
from config.base.history import CHANGE, Author, describe
from tests.pages import opened
from tests.rows import make_key, make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def entries(row):
    return [describe(entry) for entry in LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")]


def user_data(**changes):
    return {"name": "Alice", "username": "alice", "email": "alice@example.com", "is_active": "on", **changes}


def test_a_change_is_recorded_with_old_and_new_values(staff_client, alice, free):
    url = f"/admin/accounts/user/{alice.pk}/change/"
    group = Group.objects.create(name="Support")
    data = user_data(name="Alice Cooper", tier=free.pk, groups=[group.pk])
    assert staff_client.post(url, data).status_code == 302
    (entry,) = entries(alice)
    assert {change["field"]: (change["old"], change["new"]) for change in entry.values} == {
        "name": ("Alice", "Alice Cooper"),
        "groups": ("–", "Support"),
    }
    assert (entry.ip, entry.via) == ("127.0.0.1", "admin")
    page = staff_client.get(f"/admin/accounts/user/{alice.pk}/history/").content.decode()
    assert "<del>" in page
    assert "<ins>Alice Cooper</ins>" in page
    assert "127.0.0.1" in page
    assert "sue" in page


def test_saving_without_a_change_is_not_recorded(staff_client, alice, free):
    staff_client.post(f"/admin/accounts/user/{alice.pk}/change/", user_data(tier=free.pk))
    assert entries(alice) == []
    page = staff_client.get(f"/admin/accounts/user/{alice.pk}/history/").content.decode()
    assert "No changes yet." in page


def test_an_addition_is_recorded_with_its_values(staff_client):
    staff_client.post("/admin/tiers/tier/add/", {"name": "pro", "description": "For teams"})
    (entry,) = entries(Tier.objects.get(name="pro"))
    assert entry.summary == "Created."
    assert {change["field"]: change["new"] for change in entry.values} == {"name": "pro", "description": "For teams"}


def test_changes_of_inline_rows_are_recorded(staff_client, pro):
    make_limit(pro, "/a", name="a")
    url = f"/admin/tiers/tier/{pro.pk}/change/"
    form = opened(staff_client, url) | {"rate_limits-0-limit": "77"}
    staff_client.post(url, form | {"rate_limits-1-path": "/b", "rate_limits-1-limit": "5", "rate_limits-1-name": "b"})
    entry = entries(pro)[-1]
    assert "Added rate limit “b”." in entry.summary
    assert "Changed rate limit “a”." in entry.summary
    staff_client.post(url, opened(staff_client, url) | {"rate_limits-0-DELETE": "on"})
    assert "Removed rate limit “a”." in entries(pro)[-1].summary


def test_deleting_a_group_is_recorded(staff_client):
    group = Group.objects.create(name="Old")
    assert staff_client.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 302
    assert LogEntry.objects.get(object_repr="Old").action_flag == 3
    assert describe(LogEntry.objects.get(object_repr="Old")).summary == "Removed."


def test_history_of_an_unknown_row_is_not_found(staff_client):
    assert staff_client.get(f"/admin/accounts/user/{10**30}/history/").status_code == 404


def test_the_history_section_shows_who_changed_what(staff_client, alice, bob, free):
    Author(bob, via="manage.py x").record(alice, CHANGE, changes=[{"field": "name", "old": "<b>a", "new": "<i>b"}])
    Author(alice).record(free, CHANGE, note="Moved.")
    page = staff_client.get("/admin/admin/logentry/").content.decode()
    assert "&lt;b&gt;a" in page
    assert "<b>a" not in page
    assert "manage.py x" in page
    assert f'href="/users/{alice.pk}/"' in page

    def shown(query):
        return {
            entry.object_repr for entry in staff_client.get(f"/admin/admin/logentry/{query}").context["cl"].result_list
        }

    assert shown(f"?by={bob.pk}") == {"alice"}
    assert shown(f"?content_type__id__exact={ContentType.objects.get_for_model(Tier).pk}") == {"free"}
    assert shown("?q=fre") == {"free"}
    for odd in ("x", "-1", "²", "1e309"):
        assert shown(f"?by={odd}") == set()
    assert staff_client.get(f"/admin/admin/logentry/?by={10**30}").status_code in {200, 400}  # by database


def test_entries_without_an_admin_page_are_shown_as_text(staff_client, alice):
    entry = Author(alice).record(make_key(alice).permissions.get(), CHANGE)
    LogEntry.objects.create(user=alice, object_id="1", object_repr="orphan", action_flag=CHANGE)
    page = staff_client.get("/admin/admin/logentry/").content.decode()
    assert entry.object_repr in page
    assert "orphan" in page


def test_entries_written_by_django_are_shown_in_its_words(alice):
    entry = LogEntry(user=alice, action_flag=CHANGE, change_message=json.dumps([{"changed": {"fields": ["Name"]}}]))
    assert describe(entry).summary == "Changed Name."
    assert describe(LogEntry(action_flag=CHANGE, change_message="Plain words.")).summary == "Plain words."
    assert describe(LogEntry(action_flag=CHANGE, change_message="[]")).summary
    assert describe(LogEntry(action_flag=CHANGE, change_message='["odd"]')).values == []
    assert describe(LogEntry(action_flag=CHANGE, change_message='{"odd": 1}')).values == []


def test_record_many_takes_few_queries(alice, bob, django_assert_max_num_queries):
    ContentType.objects.get_for_model(Tier)
    tiers = [Tier.objects.create(name=f"t{number}") for number in range(20)]
    with django_assert_max_num_queries(3):
        Author(alice).record_many(tiers, CHANGE, note="Together.")
    assert LogEntry.objects.filter(user=alice).count() == 20


def test_the_history_section_requires_permission(client):
    client.force_login(make_staff("vera", "tiers.view_tier"))
    assert client.get("/admin/admin/logentry/").status_code == 403
    client.force_login(make_staff("hilda", "admin.view_logentry"))
    assert client.get("/admin/admin/logentry/").status_code == 200


def test_messages_without_inline_rows_have_no_note():
    assert inline_note("text") == ""
    assert inline_note([{"changed": {"fields": ["x"]}}]) == ""
