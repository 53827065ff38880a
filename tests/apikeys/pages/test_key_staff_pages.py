"""Keys in the admin: list, detail page, actions, search, hygiene, bulk changes, permissions."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.management.groups import SUPPORT, create_groups
from accounts.models import User
from apikeys import services
from apikeys.admin import APIKeyAdmin
from apikeys.models import APIKey, KeyPermission
from apikeys.pages.actions import Revoke
from apikeys.pages.staff_views import StaffActionView
from apikeys.secrets import hash_secret
from apikeys.usage.rollups import fold
from config.base.history import Author
from tests.apikeys.pages.key_form import filled_in
from tests.apikeys.pages.test_key_owner_pages import picker, secret_in, text
from tests.apikeys.usage.events import event, issue_key_to
from tests.conftest import make_user
from tests.pages import fields_of

LIST = "/admin/apikeys/apikey/"
ADD, FIND, BULK = f"{LIST}add/", f"{LIST}find/", f"{LIST}bulk/"
HYGIENE = "/admin/apikeys/hygiene/"
ACTIONS = ("rotate", "disable", "enable", "expire", "revoke")
DAY = timedelta(days=1)


def key_url(key, name="change"):
    return f"{LIST}{key.pk}/{name}/"


@pytest.fixture
def stan(free):
    """Staff with all permissions on keys, but not a superuser."""
    stan = make_user("stan", is_staff=True)
    stan.user_permissions.set(Permission.objects.filter(content_type__app_label="apikeys"))
    return stan


@pytest.fixture
def stans_client(client, stan):
    client.force_login(stan)
    return client


@pytest.fixture
def viewer_client(client, free):
    viewer = make_user("vera", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_apikey", "view_keyusage"]))
    client.force_login(viewer)
    return client


@pytest.fixture
def support_client(client, free):
    create_groups()
    sigrid = make_user("sigrid", is_staff=True)
    sigrid.groups.add(Group.objects.get(name=SUPPORT))
    client.force_login(sigrid)
    return client


# --- Creating ---


def test_staff_create_a_key_for_a_user(staff_client, alice, sue):
    response = staff_client.post(ADD, {"owner": "alice@EXAMPLE.com", "name": "for alice", "allow": "everything"})
    key = APIKey.objects.get()
    assert key.secret_hash == hash_secret(secret_in(response))
    assert key.user == alice
    assert "no-store" in response["Cache-Control"]
    assert str(key.pk) not in text(response)
    assert LogEntry.objects.get(object_id=str(key.pk)).user == sue


def test_add_page_is_filled_in_with_the_user(staff_client, alice):
    assert 'value="alice"' in text(staff_client.get(ADD, {"user": "alice"}))


@pytest.mark.parametrize("owner", ["", "nobody", "x" * 300, "a\0b", "nobody@example.com"])
def test_unknown_owner_is_a_field_error(staff_client, owner):
    assert staff_client.post(ADD, {"owner": owner, "name": "k"}).status_code == 400
    assert not APIKey.objects.exists()


def test_resubmitted_form_creates_no_second_key(staff_client, alice):
    token = re.search(r'name="form_token" value="([^"]+)"', text(staff_client.get(ADD))).group(1)
    data = {"owner": "alice", "name": "k", "form_token": token}
    assert staff_client.post(ADD, data).status_code == 200
    assert staff_client.post(ADD, data).status_code == 409
    assert APIKey.objects.count() == 1


def test_staff_cannot_create_keys_for_superusers_or_staff(stans_client, alice, sue):
    for owner in ("sue", "stan"):
        response = stans_client.post(ADD, {"owner": owner, "name": "k"})
        assert response.status_code == 400
        assert "Only superusers can change" in text(response)
    assert stans_client.post(ADD, {"owner": "alice", "name": "k"}).status_code == 200
    assert APIKey.objects.get().user == alice


# --- Permissions ---


def test_staff_cannot_change_keys_of_superusers_or_staff(stans_client, sue):
    key = issue_key_to(sue)
    data = {"name": "stolen", "reason": "x", "grace": "0", "expires_at": "2098-01-01"}
    for action in ACTIONS:
        assert stans_client.get(key_url(key, action)).status_code == 403
        assert stans_client.post(key_url(key, action), data).status_code == 403
    stans_client.post(key_url(key), data)
    stans_client.post(BULK, {"action": "disable", "pk": key.pk, "expected": "1"})
    key.refresh_from_db()
    assert (key.name, key.state) == ("a key", "active")
    assert "/rotate/" not in text(stans_client.get(key_url(key)))


def test_support_can_only_stop_keys(support_client, alice):
    key = issue_key_to(alice)
    shown = text(support_client.get(key_url(key)))
    assert "/disable/" in shown
    assert "/revoke/" in shown
    assert "/rotate/" not in shown
    assert "/expire/" not in shown
    for action in ("rotate", "expire"):
        assert support_client.get(key_url(key, action)).status_code == 403
        assert support_client.post(key_url(key, action), {"grace": "0", "expires_at": "2098-01-01"}).status_code == 403
    assert support_client.post(key_url(key), {"name": "mine"}).status_code == 403
    for action in ("expire", "trim"):
        assert support_client.post(BULK, {"action": action, "pk": key.pk, "expected": "1"}).status_code == 403
    for action, state in (("disable", "disabled"), ("enable", "active"), ("revoke", "revoked")):
        assert support_client.post(key_url(key, action), {"reason": "leaked"}).status_code == 302
        key.refresh_from_db()
        assert (key.name, key.state) == ("a key", state)


def test_support_can_stop_keys_in_bulk(support_client, alice):
    key = issue_key_to(alice)
    hygiene = text(support_client.get(HYGIENE))
    assert 'value="revoke"' in hygiene
    assert 'value="expire"' not in hygiene
    preview = support_client.post(LIST, {"action": "disable_selected", "_selected_action": key.pk})
    assert "Disable" in text(preview)
    support_client.post(BULK, {"action": "disable", "pk": key.pk, "expected": "1"})
    key.refresh_from_db()
    assert key.state == "disabled"


def test_add_permission_only_allows_adding_keys(client, alice):
    adam = make_user("adam", is_staff=True)
    adam.user_permissions.set(Permission.objects.filter(codename="add_apikey"))
    client.force_login(adam)
    response = client.post(ADD, {"owner": "alice", "name": "for alice", "allow": "everything"})
    assert secret_in(response)
    key = APIKey.objects.get()
    for action in ACTIONS:
        assert client.post(key_url(key, action), {"grace": "0", "reason": "x"}).status_code == 403


def test_view_permission_only_allows_viewing(viewer_client, alice):
    key = issue_key_to(alice)
    assert viewer_client.get(LIST).status_code == 200
    assert viewer_client.get(HYGIENE).status_code == 200
    shown = text(viewer_client.get(key_url(key)))
    assert "read" in shown or "*" in shown
    assert "/revoke/" not in shown
    for action in ACTIONS:
        assert viewer_client.post(key_url(key, action), {"reason": "x"}).status_code == 403
    assert viewer_client.post(BULK, {"action": "disable", "pk": key.pk, "expected": "1"}).status_code == 403
    assert viewer_client.post(ADD, {"owner": "alice", "name": "k"}).status_code == 403


def test_staff_without_key_permissions_are_denied(client, alice, free):
    key = issue_key_to(alice)
    client.force_login(make_user("norma", is_staff=True))
    for url in (LIST, FIND, HYGIENE, ADD, key_url(key, "rotate"), "/admin/usage/"):
        assert client.get(url).status_code == 403


def test_users_cannot_open_staff_pages(client, alice):
    key = issue_key_to(alice)
    client.force_login(alice)
    for url in (LIST, FIND, HYGIENE, ADD, key_url(key), key_url(key, "rotate"), "/admin/usage/"):
        assert client.get(url).status_code in {302, 403}


# --- Detail page ---


def test_key_page_shows_usage_permissions_and_actions(staff_client, alice):
    key = issue_key_to(alice, "exporter", permissions=[("read", "/orders/*")])
    event(key)
    shown = text(staff_client.get(key_url(key)))
    for part in (
        "1 request in 30 days",
        "read /orders/*",
        "alice",
        *(f"/{action}/" for action in ("rotate", "disable", "expire")),
    ):
        assert part in shown
    assert key.secret_hash not in shown


def test_staff_can_edit_a_key(staff_client, alice):
    key = issue_key_to(alice)
    changes = {"name": "renamed", "allowed_ips": "192.0.2.0/24", "rate_limit": "5", "rate_period": "60"}
    changes |= {"metadata": '{"team": "x"}', "permissions-0-actions": ["read"], "permissions-0-resource": "/orders"}
    response = staff_client.post(key_url(key), filled_in(key, **changes))
    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.allowed_ips, key.rate_limit, key.metadata) == ("renamed", ["192.0.2.0/24"], 5, {"team": "x"})
    assert [str(row) for row in key.permissions.all()] == ["read /orders"]
    message = LogEntry.objects.filter(object_id=str(key.pk)).first().change_message
    assert "renamed" in message
    assert "read /orders" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 1_000_000},
        {"name": "a\0b"},
        {"allowed_ips": "10.0.0.1/8"},
        {"rate_limit": "5"},
        {"rate_limit": str(2**63), "rate_period": "60"},
        {"metadata": "[]"},
        {"metadata": "{"},
        {"metadata": "[" * 100_000},
        {"metadata": '{"a": NaN}'},
        {"metadata": '{"a": "\\u0000"}'},
        {"metadata": '{"a": ' + "9" * 5000 + "}"},
        {"permissions-0-resource": "no name!"},
        {"permissions-0-resource": "/a*b"},
        {"permissions-0-actions": ["fly"]},
    ],
    ids=range(15),
)
def test_invalid_input_is_a_form_error(staff_client, alice, changes):
    key = issue_key_to(alice)
    response = staff_client.post(key_url(key), filled_in(key, **changes))
    assert response.status_code == 400
    assert "errorlist" in text(response)
    key.refresh_from_db()
    assert key.name == "a key"


def test_empty_metadata_is_an_empty_object(staff_client, alice):
    key = issue_key_to(alice, metadata={"a": 1})
    assert staff_client.post(key_url(key), filled_in(key, metadata="")).status_code == 302
    key.refresh_from_db()
    assert key.metadata == {}


def test_admin_form_cannot_change_state_secret_or_owner(staff_client, alice):
    key = issue_key_to(alice)
    data = filled_in(key, is_active="on", revoked_at="", secret_hash="0" * 64, user="999", expires_at="")
    services.set_enabled(key, Author(alice), enabled=False)
    staff_client.post(key_url(key), data)
    key.refresh_from_db()
    assert (key.state, key.user) == ("disabled", alice)


def test_key_revoked_while_its_form_is_open_is_not_changed(staff_client, alice):
    key = issue_key_to(alice)
    data = filled_in(key, name="late")
    services.revoke_key(key, Author(alice), reason="leaked")
    assert staff_client.post(key_url(key), data).status_code in {302, 403}
    key.refresh_from_db()
    assert (key.state, key.name) == ("revoked", "a key")
    assert "Revoked" in text(staff_client.get(key_url(key))) or "revoked" in text(staff_client.get(key_url(key)))


def test_key_revoked_between_check_and_write_is_not_changed(staff_client, alice, monkeypatch):
    key = issue_key_to(alice)
    APIKey.objects.filter(pk=key.pk).revoke("leaked")
    monkeypatch.setattr(services, "why_not", lambda *_: "")
    monkeypatch.setattr(APIKeyAdmin, "has_change_permission", lambda *_: True)
    response = staff_client.post(key_url(key), filled_in(key, name="late"), follow=True)
    assert "This key is revoked permanently." in text(response)
    key.refresh_from_db()
    assert key.name == "a key"


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_page_shows_recent_usage(staff_client, alice, action):
    key = issue_key_to(alice)
    event(key)
    assert "1 request" in text(staff_client.get(key_url(key, action)))


def test_staff_can_perform_every_action(staff_client, alice):
    key = issue_key_to(alice)
    staff_client.post(key_url(key, "disable"))
    key.refresh_from_db()
    assert key.state == "disabled"
    staff_client.post(key_url(key, "enable"))
    response = staff_client.post(key_url(key, "rotate"), {"grace": "86400", "current": key.shown_as})
    key.refresh_from_db()
    assert key.secret_hash == hash_secret(secret_in(response))
    tomorrow = (timezone.now() + DAY).date().isoformat()
    assert staff_client.post(key_url(key, "expire"), {"expires_at": tomorrow}).status_code == 302
    assert staff_client.post(key_url(key, "revoke"), {"reason": "done"}).status_code == 302
    key.refresh_from_db()
    assert (key.state, key.revoked_reason) == ("revoked", "done")
    history = text(staff_client.get(key_url(key, "history")))
    for word in ("Disabled.", "Enabled.", "Rotated.", "Revoked: done", "brought forward"):
        assert word in history


def test_key_can_be_deleted_and_restored(staff_client, alice):
    key = issue_key_to(alice, "name-deleted")
    assert "1 active key will stop working immediately." in text(staff_client.get(key_url(key, "delete")))
    staff_client.post(key_url(key, "delete"), {"post": "yes"})
    key.refresh_from_db()
    assert key.state == "deleted"
    assert rows_shown(staff_client) == set()
    assert "unless they are revoked, disabled or expired" in text(staff_client.get(key_url(key, "restore")))
    staff_client.post(key_url(key, "restore"), {"post": "yes"})
    key.refresh_from_db()
    assert key.state == "active"


# --- Search ---


def test_key_is_found_by_its_secret(staff_client, alice):
    key, secret = services.issue_key(alice, Author(alice), name="k")
    assert staff_client.post(FIND, {"secret": f" {secret} "}).url == key_url(key)
    services.rotate_key(key, Author(alice), grace=DAY)
    assert staff_client.post(FIND, {"secret": secret}).url == key_url(key)


@pytest.mark.parametrize("secret", ["", "x", "gate_" + "a" * 49, "x" * 1_000_000, "gate_\0", "ｇate_" + "a" * 49])
def test_invalid_secret_is_an_error_and_not_echoed(staff_client, secret):
    response = staff_client.post(FIND, {"secret": secret})
    assert response.status_code == 400
    assert not secret or len(secret) == 1 or secret not in text(response)


def test_unknown_secret_is_an_error_and_not_echoed(staff_client, alice):
    from apikeys.secrets import new_secret

    secret = new_secret()
    response = staff_client.post(FIND, {"secret": secret})
    assert "No key has this secret" in text(response)
    assert secret not in text(response)


@pytest.mark.parametrize("place", [LIST, "/admin/search/", "/users/", "/admin/usage/"])
def test_secret_in_a_search_is_removed_from_the_url(staff_client, alice, place):
    _, secret = services.issue_key(alice, Author(alice), name="k")
    response = staff_client.get(place, {"q": f" {secret}"})
    assert (response.status_code, response.url) == (302, FIND)
    shown = text(staff_client.get(FIND))
    assert "part of the URL" in shown
    assert secret not in shown


def test_secret_in_an_owners_url_is_removed(client, alice):
    _, secret = services.issue_key(alice, Author(alice), name="k")
    client.force_login(alice)
    response = client.get("/account/keys/", {"show": secret}, follow=True)
    assert response.redirect_chain == [("/account/keys/", 302)]
    assert "part of the URL" in text(response)
    assert client.get("/account/keys/", {"show": "gate_short"}).status_code == 200


def rows_shown(client, **query):
    _, found, rows = text(client.get(LIST, query)).partition("<tbody>")
    return set(re.findall(r"name-\w+", rows)) if found else set()


def test_keys_are_found_by_prefix_end_name_and_owner(staff_client, alice, bob):
    keys = [issue_key_to(owner, f"name-{owner.username}") for owner in (alice, bob)]
    for query in (keys[0].prefix, keys[0].last4, keys[0].shown_as, "name-alice", "alice@example.com"):
        assert rows_shown(staff_client, q=query) == {"name-alice"}


def test_list_can_be_filtered_by_state(staff_client, alice):
    states = {
        "active": {},
        "disabled": {"is_active": False},
        "expired": {"expires_at": timezone.now()},
        "revoked": {"revoked_at": timezone.now()},
    }
    for name, fields in states.items():
        APIKey.objects.filter(pk=issue_key_to(alice, f"name-{name}").pk).update(**fields)
    for name in states:
        assert rows_shown(staff_client, key_state=name) == {f"name-{name}"}
    assert len(rows_shown(staff_client)) == 4


@pytest.mark.parametrize("count", [1, 20])
def test_list_queries_do_not_grow_with_keys(staff_client, alice, count, django_assert_max_num_queries):
    for number in range(count):
        event(issue_key_to(alice, f"key {number}"))
    with django_assert_max_num_queries(14):
        assert text(staff_client.get(LIST)).count('class="sparkline"') == count


def test_export_has_no_hash(staff_client, alice):
    key = issue_key_to(alice, "=cmd()")
    body = b"".join(staff_client.get(f"{LIST}export/")).decode()
    assert "'=cmd()" in body
    assert key.secret_hash not in body


# --- Hygiene and bulk actions ---


def problem_keys(alice):
    """One key for each problem, by the problem's slug."""
    now = timezone.now()
    later = now + 200 * DAY
    restricted = [("read", "/orders"), ("delete", "/orders")]
    fields = {
        "never-used": {"expires_at": later},
        "idle": {"expires_at": later, "last_used_at": now - 91 * DAY},
        "no-expiry": {"last_used_at": now},
        "expiring": {"expires_at": now + 20 * DAY, "last_used_at": now},
        "unrestricted": {"expires_at": later, "last_used_at": now},
        "unexercised": {"expires_at": later, "last_used_at": now},
    }
    keys = {}
    for slug, values in fields.items():
        permissions = (
            [("*", "*")] if slug == "unrestricted" else restricted if slug == "unexercised" else [("read", "/orders")]
        )
        key = keys[slug] = issue_key_to(alice, f"name-{slug}", permissions=permissions)
        APIKey.objects.filter(pk=key.pk).update(**values)
        if values.get("last_used_at") == now:
            event(key, endpoint="/orders", method="GET")
    return keys


def test_each_problem_lists_and_counts_its_keys(staff_client, alice):
    keys = problem_keys(alice)
    for slug in keys:
        body = text(staff_client.get(HYGIENE, {"show": slug}))
        assert set(re.findall(r">name-([\w-]+)<", body)) == {slug}
        assert re.findall(r'badge badge-warn">(\d+)</span></a>', body) == ["1"] * 6


def test_inactive_keys_are_not_listed(staff_client, alice):
    keys = problem_keys(alice)
    APIKey.objects.filter(pk__in=[keys["idle"].pk]).revoke("x")
    alice.suspend()
    body = text(staff_client.get(HYGIENE, {"show": "idle"}))
    assert "No keys." in body


@pytest.mark.parametrize("count", [1, 20])
def test_hygiene_queries_do_not_grow_with_keys(staff_client, alice, count, django_assert_max_num_queries):
    for number in range(count):
        key = issue_key_to(alice, f"key {number}", permissions=[("read", "/a"), ("read", "/b")])
        APIKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
        event(key, endpoint="/a")
    with django_assert_max_num_queries(35):
        assert text(staff_client.get(HYGIENE, {"show": "unexercised"})).count('name="pk"') == count


def test_named_resource_counts_as_used_with_any_action(alice):
    from apikeys.pages.hygiene import unused_permissions

    key = issue_key_to(alice, permissions=[("read", "orders"), ("read", "bills"), ("*", "/*")])
    APIKey.objects.update(last_used_at=timezone.now())
    event(key, endpoint="orders", method="POST")
    event(key, endpoint="bills", method="GET", reason="rate_limited", status_code=429)
    assert [str(row) for row in unused_permissions()[key.pk]] == ["read bills"]


@pytest.mark.parametrize("folded", [False, True])
def test_permission_for_a_host_only_counts_as_used_there(alice, folded):
    from apikeys.pages.hygiene import unused_permissions

    key = issue_key_to(alice, permissions=[("read", "/orders")])
    for host in ("api.example.com", "*.example.com", "sandbox.example.org", "*.example.org"):
        KeyPermission.objects.create(api_key=key, action="read", resource="/orders", host=host)
    APIKey.objects.update(last_used_at=timezone.now())
    event(key, timedelta(hours=5), endpoint="/orders", host="eu.example.com")
    event(key, timedelta(hours=5), endpoint="/orders")
    if folded:
        fold()
    unused = {"api.example.com", "sandbox.example.org", "*.example.org"}
    assert {row.host for row in unused_permissions()[key.pk]} == unused


def preview(client, **data):
    response = client.post(BULK, data)
    return response, fields_of(text(response), "expected")


def test_bulk_revocation_is_previewed_confirmed_and_logged(staff_client, alice, bob):
    keys = [issue_key_to(owner, f"name-{owner}") for owner in (alice, bob)]
    event(keys[0])
    response, fields = preview(staff_client, action="revoke", pk=[key.pk for key in keys])
    assert "2 API keys of 2 users, used for 1 request in the last 30 days." in text(response)
    assert "denied from now on, permanently" in text(response)
    assert all(key.state == "active" for key in APIKey.objects.all())
    without_reason = staff_client.post(BULK, fields)
    assert without_reason.status_code == 400
    assert "Enter a reason." in text(without_reason)
    done = staff_client.post(BULK, fields | {"reason": "cleaning up"}, follow=True)
    assert "2 API keys revoked." in text(done)
    assert {key.revoked_reason for key in APIKey.objects.all()} == {"cleaning up"}
    assert LogEntry.objects.filter(change_message__contains="Revoked: cleaning up").count() == 2


def test_bulk_action_can_cover_all_pages(staff_client, alice):
    User.objects.update(rows_per_page=2)
    for number in range(5):
        issue_key_to(alice, f"key {number}")
    assert "Select all 5 matching keys" in text(staff_client.get(HYGIENE, {"show": "no-expiry"}))
    _, fields = preview(staff_client, action="expire", everything="no-expiry")
    staff_client.post(BULK, fields)
    left = [key.expires_at - timezone.now() for key in APIKey.objects.all()]
    assert all(29 * DAY < days <= 30 * DAY for days in left)


def test_bulk_trim_removes_unused_permissions(staff_client, alice):
    key = problem_keys(alice)["unexercised"]
    response, fields = preview(staff_client, action="trim", pk=[key.pk])
    assert "delete /orders" in text(response)
    staff_client.post(BULK, fields)
    assert [str(row) for row in KeyPermission.objects.filter(api_key=key)] == ["read /orders"]


def test_bulk_action_reports_failures_and_continues(staff_client, alice, monkeypatch):
    first, second = issue_key_to(alice, "one"), issue_key_to(alice, "two")
    _, fields = preview(staff_client, action="disable", pk=[first.pk, second.pk])
    set_enabled = services.set_enabled

    def revoked_meanwhile(key, author, **options):
        if key == first:
            APIKey.objects.filter(pk=first.pk).revoke("leaked")
        set_enabled(key, author, **options)

    monkeypatch.setattr(services, "set_enabled", revoked_meanwhile)
    done = text(staff_client.post(BULK, fields, follow=True))
    assert "1 API key disabled." in done
    assert f"“{first}”: This key is revoked permanently." in done


def test_changed_selection_must_be_confirmed_again(staff_client, alice):
    first, second = issue_key_to(alice, "one"), issue_key_to(alice, "two")
    _, fields = preview(staff_client, action="disable", pk=[first.pk, second.pk])
    services.revoke_key(first, Author(alice), reason="x")
    shown = text(staff_client.post(BULK, fields))
    assert "The selection has changed since you confirmed." in shown
    assert "Skipped: 1 API key that this doesn't apply to." in shown
    staff_client.post(BULK, fields_of(shown, "expected"))
    assert {key.name: key.state for key in APIKey.objects.all()} == {"one": "revoked", "two": "disabled"}


@pytest.mark.parametrize(
    "data",
    [{}, {"action": "fly", "pk": ""}, {"action": "revoke", "pk": "x"}, {"action": "revoke", "everything": "\0"}],
)
def test_invalid_bulk_request_redirects_to_the_list(staff_client, data):
    assert staff_client.post(BULK, data).url == LIST
    assert staff_client.get(BULK).url == LIST


def test_bulk_request_without_keys_shows_a_message(staff_client):
    assert "Select API keys first." in text(staff_client.post(BULK, {"action": "revoke"}, follow=True))


def test_too_many_selected_keys_are_rejected(staff_client, alice, monkeypatch):
    monkeypatch.setattr(Revoke, "max_at_once", 1)
    keys = [issue_key_to(alice), issue_key_to(alice)]
    assert staff_client.post(BULK, {"action": "revoke", "pk": [key.pk for key in keys]}).url == LIST
    chosen = {"_selected_action": [key.pk for key in keys], "action": "revoke_selected"}
    assert "Select at most 1 API key at once." in text(staff_client.post(LIST, chosen, follow=True))


@pytest.mark.parametrize(
    ("action", "label"), [("disable_selected", "Disable"), ("revoke_selected", "Revoke 1 API key")]
)
def test_list_actions_show_the_same_preview(staff_client, alice, action, label):
    key = issue_key_to(alice)
    response = staff_client.post(LIST, {"_selected_action": [key.pk], "action": action})
    assert label in text(response)
    assert str(key.pk) in text(response)


def test_add_page_accepts_listed_permissions(staff_client, alice):
    staff_client.post(ADD, {"owner": "alice", "name": "k", "allow": "listed"} | picker(("/a", "read")))
    assert [str(row) for row in KeyPermission.objects.all()] == ["read /a"]


def test_action_view_checks_permissions(rf, alice, free):
    """The admin denies them as well, but the view doesn't rely on that."""
    request = rf.get("/")
    request.user = make_user("vera", is_staff=True)
    with pytest.raises(PermissionDenied):
        StaffActionView.as_view(action=Revoke())(request, key_id=issue_key_to(alice).pk)


def test_list_shows_the_last_used_address(staff_client, alice):
    issue_key_to(alice, last_used_at=timezone.now(), last_used_ip="192.0.2.9")
    assert '<span class="mono muted">192.0.2.9</span>' in text(staff_client.get("/admin/apikeys/apikey/"))
