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
from tests.apikeys.usage.usage_makers import event, make_key
from tests.conftest import make_user
from tests.pages import fields_of

LIST = "/admin/apikeys/apikey/"
ADD, FIND, BULK = f"{LIST}add/", f"{LIST}find/", f"{LIST}bulk/"
HYGIENE = "/admin/apikeys/hygiene/"
STEPS = ("rotate", "disable", "enable", "expire", "revoke")
DAY = timedelta(days=1)


def page(key, name="change"):
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


def test_staff_make_a_key_for_an_account_and_see_its_secret_once(staff_client, alice, sue):
    response = staff_client.post(ADD, {"owner": "alice@EXAMPLE.com", "name": "for alice", "allow": "everything"})
    key = APIKey.objects.get()
    assert key.secret_hash == hash_secret(secret_in(response))
    assert key.user == alice
    assert "no-store" in response["Cache-Control"]
    assert str(key.pk) not in text(response)
    assert LogEntry.objects.get(object_id=str(key.pk)).user == sue


def test_the_add_page_is_filled_in_from_the_page_of_an_account(staff_client, alice):
    assert 'value="alice"' in text(staff_client.get(ADD, {"user": "alice"}))


@pytest.mark.parametrize("owner", ["", "nobody", "x" * 300, "a\0b", "nobody@example.com"])
def test_an_unknown_account_is_an_error_at_the_field(staff_client, owner):
    assert staff_client.post(ADD, {"owner": owner, "name": "k"}).status_code == 400
    assert not APIKey.objects.exists()


def test_the_same_form_sent_again_makes_no_second_key(staff_client, alice):
    token = re.search(r'name="form_token" value="([^"]+)"', text(staff_client.get(ADD))).group(1)
    data = {"owner": "alice", "name": "k", "form_token": token}
    assert staff_client.post(ADD, data).status_code == 200
    assert staff_client.post(ADD, data).status_code == 409
    assert APIKey.objects.count() == 1


def test_staff_make_no_key_for_superusers_or_other_staff(stans_client, alice, sue):
    for owner in ("sue", "stan"):
        response = stans_client.post(ADD, {"owner": owner, "name": "k"})
        assert response.status_code == 400
        assert "Only superusers can change" in text(response)
    assert stans_client.post(ADD, {"owner": "alice", "name": "k"}).status_code == 200
    assert APIKey.objects.get().user == alice


# --- Permissions ---


def test_staff_touch_no_key_of_superusers_or_other_staff(stans_client, sue):
    key = make_key(sue)
    data = {"name": "stolen", "reason": "x", "grace": "0", "expires_at": "2098-01-01"}
    for step in STEPS:
        assert stans_client.get(page(key, step)).status_code == 403
        assert stans_client.post(page(key, step), data).status_code == 403
    stans_client.post(page(key), data)
    stans_client.post(BULK, {"action": "disable", "pk": key.pk, "expected": "1"})
    key.refresh_from_db()
    assert (key.name, key.state) == ("a key", "active")
    assert "/rotate/" not in text(stans_client.get(page(key)))


def test_support_stops_keys_but_sees_no_secret_and_widens_nothing(support_client, alice):
    key = make_key(alice)
    shown = text(support_client.get(page(key)))
    assert "/disable/" in shown
    assert "/revoke/" in shown
    assert "/rotate/" not in shown
    assert "/expire/" not in shown
    for step in ("rotate", "expire"):
        assert support_client.get(page(key, step)).status_code == 403
        assert support_client.post(page(key, step), {"grace": "0", "expires_at": "2098-01-01"}).status_code == 403
    assert support_client.post(page(key), {"name": "mine"}).status_code == 403
    for verb in ("expire", "trim"):
        assert support_client.post(BULK, {"action": verb, "pk": key.pk, "expected": "1"}).status_code == 403
    for step, state in (("disable", "disabled"), ("enable", "active"), ("revoke", "revoked")):
        assert support_client.post(page(key, step), {"reason": "leaked"}).status_code == 302
        key.refresh_from_db()
        assert (key.name, key.state) == ("a key", state)


def test_support_stops_many_keys_from_the_list_and_from_hygiene(support_client, alice):
    key = make_key(alice)
    hygiene = text(support_client.get(HYGIENE))
    assert 'value="revoke"' in hygiene
    assert 'value="expire"' not in hygiene
    preview = support_client.post(LIST, {"action": "disable_selected", "_selected_action": key.pk})
    assert "Disable" in text(preview)
    support_client.post(BULK, {"action": "disable", "pk": key.pk, "expected": "1"})
    key.refresh_from_db()
    assert key.state == "disabled"


def test_the_right_to_add_keys_is_enough_to_add_one_and_for_nothing_else(client, alice):
    adam = make_user("adam", is_staff=True)
    adam.user_permissions.set(Permission.objects.filter(codename="add_apikey"))
    client.force_login(adam)
    response = client.post(ADD, {"owner": "alice", "name": "for alice", "allow": "everything"})
    assert secret_in(response)
    key = APIKey.objects.get()
    for step in STEPS:
        assert client.post(page(key, step), {"grace": "0", "reason": "x"}).status_code == 403


def test_who_may_only_look_changes_nothing(viewer_client, alice):
    key = make_key(alice)
    assert viewer_client.get(LIST).status_code == 200
    assert viewer_client.get(HYGIENE).status_code == 200
    shown = text(viewer_client.get(page(key)))
    assert "read" in shown or "*" in shown
    assert "/revoke/" not in shown
    for step in STEPS:
        assert viewer_client.post(page(key, step), {"reason": "x"}).status_code == 403
    assert viewer_client.post(BULK, {"action": "disable", "pk": key.pk, "expected": "1"}).status_code == 403
    assert viewer_client.post(ADD, {"owner": "alice", "name": "k"}).status_code == 403


def test_without_a_right_on_keys_there_is_nothing_to_see(client, alice, free):
    key = make_key(alice)
    client.force_login(make_user("norma", is_staff=True))
    for url in (LIST, FIND, HYGIENE, ADD, page(key, "rotate"), "/admin/usage/"):
        assert client.get(url).status_code == 403


def test_account_holders_do_not_get_in(client, alice):
    key = make_key(alice)
    client.force_login(alice)
    for url in (LIST, FIND, HYGIENE, ADD, page(key), page(key, "rotate"), "/admin/usage/"):
        assert client.get(url).status_code in {302, 403}


# --- Detail page ---


def test_the_page_of_a_key_answers_before_it_offers_fields(staff_client, alice):
    key = make_key(alice, "exporter", permissions=[("read", "/orders/*")])
    event(key)
    shown = text(staff_client.get(page(key)))
    for part in (
        "1 request in 30 days",
        "read /orders/*",
        "alice",
        *(f"/{step}/" for step in ("rotate", "disable", "expire")),
    ):
        assert part in shown
    assert key.secret_hash not in shown


def test_staff_edit_a_key_in_the_admin(staff_client, alice):
    key = make_key(alice)
    changes = {"name": "renamed", "allowed_ips": "192.0.2.0/24", "rate_limit": "5", "rate_period": "60"}
    changes |= {"metadata": '{"team": "x"}', "permissions-0-actions": ["read"], "permissions-0-resource": "/orders"}
    response = staff_client.post(page(key), filled_in(key, **changes))
    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.allowed_ips, key.rate_limit, key.metadata) == ("renamed", ["192.0.2.0/24"], 5, {"team": "x"})
    assert [str(row) for row in key.permissions.all()] == ["read /orders"]
    told = LogEntry.objects.filter(object_id=str(key.pk)).first().change_message
    assert "renamed" in told
    assert "read /orders" in told


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
def test_bad_input_in_the_admin_is_a_form_error(staff_client, alice, changes):
    key = make_key(alice)
    response = staff_client.post(page(key), filled_in(key, **changes))
    assert response.status_code == 400
    assert "errorlist" in text(response)
    key.refresh_from_db()
    assert key.name == "a key"


def test_an_empty_metadata_field_is_an_empty_object(staff_client, alice):
    key = make_key(alice, metadata={"a": 1})
    assert staff_client.post(page(key), filled_in(key, metadata="")).status_code == 302
    key.refresh_from_db()
    assert key.metadata == {}


def test_the_admin_form_cannot_revive_or_unhide_anything(staff_client, alice):
    key = make_key(alice)
    data = filled_in(key, is_active="on", revoked_at="", secret_hash="0" * 64, user="999", expires_at="")
    services.set_enabled(key, Author(alice), enabled=False)
    staff_client.post(page(key), data)
    key.refresh_from_db()
    assert (key.state, key.user) == ("disabled", alice)


def test_a_key_revoked_while_its_form_was_open_is_left_alone(staff_client, alice):
    key = make_key(alice)
    data = filled_in(key, name="late")
    services.revoke_key(key, Author(alice), reason="leaked")
    assert staff_client.post(page(key), data).status_code in {302, 403}
    key.refresh_from_db()
    assert (key.state, key.name) == ("revoked", "a key")
    assert "Revoked" in text(staff_client.get(page(key))) or "revoked" in text(staff_client.get(page(key)))


def test_a_key_revoked_between_check_and_write_is_left_alone(staff_client, alice, monkeypatch):
    key = make_key(alice)
    APIKey.objects.filter(pk=key.pk).revoke("leaked")
    monkeypatch.setattr(services, "why_not", lambda *_: "")
    monkeypatch.setattr(APIKeyAdmin, "has_change_permission", lambda *_: True)
    response = staff_client.post(page(key), filled_in(key, name="late"), follow=True)
    assert "This key is revoked permanently." in text(response)
    key.refresh_from_db()
    assert key.name == "a key"


@pytest.mark.parametrize("step", STEPS)
def test_each_step_shows_what_will_happen_first(staff_client, alice, step):
    key = make_key(alice)
    event(key)
    assert "1 request" in text(staff_client.get(page(key, step)))


def test_staff_take_every_step(staff_client, alice):
    key = make_key(alice)
    staff_client.post(page(key, "disable"))
    key.refresh_from_db()
    assert key.state == "disabled"
    staff_client.post(page(key, "enable"))
    response = staff_client.post(page(key, "rotate"), {"grace": "86400", "current": key.shown_as})
    key.refresh_from_db()
    assert key.secret_hash == hash_secret(secret_in(response))
    tomorrow = (timezone.now() + DAY).date().isoformat()
    assert staff_client.post(page(key, "expire"), {"expires_at": tomorrow}).status_code == 302
    assert staff_client.post(page(key, "revoke"), {"reason": "done"}).status_code == 302
    key.refresh_from_db()
    assert (key.state, key.revoked_reason) == ("revoked", "done")
    history = text(staff_client.get(page(key, "history")))
    for word in ("Disabled.", "Enabled.", "Rotated.", "Revoked: done", "brought forward"):
        assert word in history


def test_a_key_is_deleted_and_restored_in_the_admin(staff_client, alice):
    key = make_key(alice, "name-deleted")
    assert "1 active key will stop working immediately." in text(staff_client.get(page(key, "delete")))
    staff_client.post(page(key, "delete"), {"post": "yes"})
    key.refresh_from_db()
    assert key.state == "deleted"
    assert rows_shown(staff_client) == set()
    assert "unless they are revoked, disabled or expired" in text(staff_client.get(page(key, "restore")))
    staff_client.post(page(key, "restore"), {"post": "yes"})
    key.refresh_from_db()
    assert key.state == "active"


# --- Search ---


def test_a_key_is_found_by_its_whole_secret(staff_client, alice):
    key, secret = services.issue_key(alice, Author(alice), name="k")
    assert staff_client.post(FIND, {"secret": f" {secret} "}).url == page(key)
    services.rotate_key(key, Author(alice), grace=DAY)
    assert staff_client.post(FIND, {"secret": secret}).url == page(key)


@pytest.mark.parametrize("secret", ["", "x", "gate_" + "a" * 49, "x" * 1_000_000, "gate_\0", "ｇate_" + "a" * 49])
def test_what_is_no_secret_is_an_error_and_not_echoed(staff_client, secret):
    response = staff_client.post(FIND, {"secret": secret})
    assert response.status_code == 400
    assert not secret or len(secret) == 1 or secret not in text(response)


def test_a_secret_of_no_key_is_told_so_and_not_echoed(staff_client, alice):
    from apikeys.secrets import new_secret

    secret = new_secret()
    response = staff_client.post(FIND, {"secret": secret})
    assert "No key has this secret" in text(response)
    assert secret not in text(response)


@pytest.mark.parametrize("place", [LIST, "/admin/search/", "/users/", "/admin/usage/"])
def test_a_secret_in_a_search_is_refused_and_taken_out_of_the_address(staff_client, alice, place):
    _, secret = services.issue_key(alice, Author(alice), name="k")
    response = staff_client.get(place, {"q": f" {secret}"})
    assert (response.status_code, response.url) == (302, FIND)
    shown = text(staff_client.get(FIND))
    assert "part of the URL" in shown
    assert secret not in shown


def test_a_holder_is_told_the_same(client, alice):
    _, secret = services.issue_key(alice, Author(alice), name="k")
    client.force_login(alice)
    response = client.get("/account/keys/", {"show": secret}, follow=True)
    assert response.redirect_chain == [("/account/keys/", 302)]
    assert "part of the URL" in text(response)
    assert client.get("/account/keys/", {"show": "gate_short"}).status_code == 200


def rows_shown(client, **query):
    _, found, rows = text(client.get(LIST, query)).partition("<tbody>")
    return set(re.findall(r"name-\w+", rows)) if found else set()


def test_keys_are_found_by_start_end_name_and_holder(staff_client, alice, bob):
    keys = [make_key(owner, f"name-{owner.username}") for owner in (alice, bob)]
    for query in (keys[0].prefix, keys[0].last4, keys[0].shown_as, "name-alice", "alice@example.com"):
        assert rows_shown(staff_client, q=query) == {"name-alice"}


def test_the_list_is_filtered_by_state(staff_client, alice):
    states = {
        "active": {},
        "disabled": {"is_active": False},
        "expired": {"expires_at": timezone.now()},
        "revoked": {"revoked_at": timezone.now()},
    }
    for name, fields in states.items():
        APIKey.objects.filter(pk=make_key(alice, f"name-{name}").pk).update(**fields)
    for name in states:
        assert rows_shown(staff_client, key_state=name) == {f"name-{name}"}
    assert len(rows_shown(staff_client)) == 4


@pytest.mark.parametrize("count", [1, 20])
def test_the_list_asks_the_database_as_often_for_many_keys(staff_client, alice, count, django_assert_max_num_queries):
    for number in range(count):
        event(make_key(alice, f"key {number}"))
    with django_assert_max_num_queries(14):
        assert text(staff_client.get(LIST)).count('class="sparkline"') == count


def test_the_export_has_no_hash(staff_client, alice):
    key = make_key(alice, "=cmd()")
    body = b"".join(staff_client.get(f"{LIST}export/")).decode()
    assert "'=cmd()" in body
    assert key.secret_hash not in body


# --- Hygiene and bulk actions ---


def untidy_keys(alice):
    """One key for each problem; maps the key's name to the problem's slug."""
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
        key = keys[slug] = make_key(alice, f"name-{slug}", permissions=permissions)
        APIKey.objects.filter(pk=key.pk).update(**values)
        if values.get("last_used_at") == now:
            event(key, endpoint="/orders", method="GET")
    return keys


def test_each_problem_lists_its_keys_and_counts_them(staff_client, alice):
    keys = untidy_keys(alice)
    for slug in keys:
        body = text(staff_client.get(HYGIENE, {"show": slug}))
        assert set(re.findall(r">name-([\w-]+)<", body)) == {slug}
        assert re.findall(r'badge badge-warn">(\d+)</span></a>', body) == ["1"] * 6


def test_keys_that_are_refused_anyway_are_no_problem(staff_client, alice):
    keys = untidy_keys(alice)
    APIKey.objects.filter(pk__in=[keys["idle"].pk]).revoke("x")
    alice.suspend()
    body = text(staff_client.get(HYGIENE, {"show": "idle"}))
    assert "No keys." in body


@pytest.mark.parametrize("count", [1, 20])
def test_hygiene_asks_the_database_as_often_for_many_keys(staff_client, alice, count, django_assert_max_num_queries):
    for number in range(count):
        key = make_key(alice, f"key {number}", permissions=[("read", "/a"), ("read", "/b")])
        APIKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
        event(key, endpoint="/a")
    with django_assert_max_num_queries(35):
        assert text(staff_client.get(HYGIENE, {"show": "unexercised"})).count('name="pk"') == count


def test_a_named_resource_counts_as_exercised_whatever_the_action(alice):
    from apikeys.pages.hygiene import unused_permissions

    key = make_key(alice, permissions=[("read", "orders"), ("read", "bills"), ("*", "/*")])
    APIKey.objects.update(last_used_at=timezone.now())
    event(key, endpoint="orders", method="POST")
    event(key, endpoint="bills", method="GET", reason="rate_limited", status_code=429)
    assert [str(row) for row in unused_permissions()[key.pk]] == ["read bills"]


@pytest.mark.parametrize("folded", [False, True])
def test_a_permission_for_a_host_counts_as_used_there_only(alice, folded):
    from apikeys.pages.hygiene import unused_permissions

    key = make_key(alice, permissions=[("read", "/orders")])
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


def test_a_bulk_revocation_is_previewed_confirmed_and_recorded(staff_client, alice, bob):
    keys = [make_key(owner, f"name-{owner}") for owner in (alice, bob)]
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


def test_a_bulk_change_of_a_whole_list_covers_every_page(staff_client, alice):
    User.objects.update(rows_per_page=2)
    for number in range(5):
        make_key(alice, f"key {number}")
    assert "Select all 5 matching keys" in text(staff_client.get(HYGIENE, {"show": "no-expiry"}))
    _, fields = preview(staff_client, action="expire", everything="no-expiry")
    staff_client.post(BULK, fields)
    left = [key.expires_at - timezone.now() for key in APIKey.objects.all()]
    assert all(29 * DAY < days <= 30 * DAY for days in left)


def test_a_bulk_trim_removes_what_was_never_exercised(staff_client, alice):
    key = untidy_keys(alice)["unexercised"]
    response, fields = preview(staff_client, action="trim", pk=[key.pk])
    assert "delete /orders" in text(response)
    staff_client.post(BULK, fields)
    assert [str(row) for row in KeyPermission.objects.filter(api_key=key)] == ["read /orders"]


def test_what_cannot_be_changed_is_told_and_holds_nothing_up(staff_client, alice, monkeypatch):
    first, second = make_key(alice, "one"), make_key(alice, "two")
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


def test_what_was_changed_before_is_skipped_and_asked_about_again(staff_client, alice):
    first, second = make_key(alice, "one"), make_key(alice, "two")
    _, fields = preview(staff_client, action="disable", pk=[first.pk, second.pk])
    services.revoke_key(first, Author(alice), reason="x")
    asked = text(staff_client.post(BULK, fields))
    assert "The selection has changed since you confirmed." in asked
    assert "Skipped: 1 API key that this doesn't apply to." in asked
    staff_client.post(BULK, fields_of(asked, "expected"))
    assert {key.name: key.state for key in APIKey.objects.all()} == {"one": "revoked", "two": "disabled"}


@pytest.mark.parametrize(
    "data",
    [{}, {"action": "fly", "pk": ""}, {"action": "revoke", "pk": "x"}, {"action": "revoke", "everything": "\0"}],
)
def test_a_senseless_bulk_request_goes_back_to_the_list(staff_client, data):
    assert staff_client.post(BULK, data).url == LIST
    assert staff_client.get(BULK).url == LIST


def test_a_bulk_request_without_keys_says_so(staff_client):
    assert "Select API keys first." in text(staff_client.post(BULK, {"action": "revoke"}, follow=True))


def test_too_many_keys_at_once_are_refused(staff_client, alice, monkeypatch):
    monkeypatch.setattr(Revoke, "max_at_once", 1)
    keys = [make_key(alice), make_key(alice)]
    assert staff_client.post(BULK, {"action": "revoke", "pk": [key.pk for key in keys]}).url == LIST
    chosen = {"_selected_action": [key.pk for key in keys], "action": "revoke_selected"}
    assert "Select at most 1 API key at once." in text(staff_client.post(LIST, chosen, follow=True))


@pytest.mark.parametrize(
    ("action", "label"), [("disable_selected", "Disable"), ("revoke_selected", "Revoke 1 API key")]
)
def test_the_actions_of_the_list_lead_to_the_same_preview(staff_client, alice, action, label):
    key = make_key(alice)
    response = staff_client.post(LIST, {"_selected_action": [key.pk], "action": action})
    assert label in text(response)
    assert str(key.pk) in text(response)


def test_the_picker_of_the_add_page_lists_permissions(staff_client, alice):
    staff_client.post(ADD, {"owner": "alice", "name": "k", "allow": "listed"} | picker(("/a", "read")))
    assert [str(row) for row in KeyPermission.objects.all()] == ["read /a"]


def test_the_action_itself_refuses_staff_who_may_only_look(rf, alice, free):
    """The admin already denies them, but the view doesn't rely on that."""
    request = rf.get("/")
    request.user = make_user("vera", is_staff=True)
    with pytest.raises(PermissionDenied):
        StaffActionView.as_view(action=Revoke())(request, key_id=make_key(alice).pk)


def test_the_list_shows_by_which_address_a_key_was_used_last(staff_client, alice):
    make_key(alice, last_used_at=timezone.now(), last_used_ip="192.0.2.9")
    assert '<span class="mono muted">192.0.2.9</span>' in text(staff_client.get("/admin/apikeys/apikey/"))
