"""A key's permissions in the admin: concurrent edits, and forms that were tampered with."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse

from apikeys.models import KeyPermission
from tests.apikeys.pages.key_form import filled_in
from tests.conftest import make_user
from tests.rows import make_key

pytestmark = pytest.mark.django_db
TWICE = "The key already has this permission."


@pytest.fixture
def key(alice):
    return make_key(alice, allow=["read /orders/*"])


def page(key):
    return reverse("admin:apikeys_apikey_change", args=[key.pk])


def allowed(key):
    return sorted(str(permission) for permission in key.permissions.all())


def test_a_new_row_is_stored_and_told_in_the_history(staff_client, key):
    assert staff_client.post(page(key), filled_in(key, ("create", "/orders"))).status_code == 302
    assert allowed(key) == ["create /orders", "read /orders/*"]
    assert "create /orders" in LogEntry.objects.first().change_message


def test_a_ticked_row_is_taken_away(staff_client, key):
    data = filled_in(key, **{"permissions-0-DELETE": "on"})
    assert staff_client.post(page(key), data).status_code == 302
    assert allowed(key) == []


def test_a_row_that_a_colleague_added_meanwhile_is_an_error_and_nothing_is_lost(staff_client, key):
    opened = list(key.permissions.order_by("pk"))
    KeyPermission.objects.create(api_key=key, action="create", resource="/orders")
    answer = staff_client.post(page(key), filled_in(key, ("create", "/orders"), stored=opened, name="typed meanwhile"))
    shown = answer.content.decode()
    assert answer.status_code == 200
    assert TWICE in shown
    assert 'value="typed meanwhile"' in shown
    assert 'value="/orders"' in shown
    key.refresh_from_db()
    assert key.name != "typed meanwhile"
    assert allowed(key) == ["create /orders", "read /orders/*"]


def test_a_row_changed_into_one_that_a_colleague_added_is_an_error(staff_client, key):
    opened = list(key.permissions.order_by("pk"))
    KeyPermission.objects.create(api_key=key, action="create", resource="/orders")
    changed = {"permissions-0-action": "create", "permissions-0-resource": "/orders"}
    answer = staff_client.post(page(key), filled_in(key, stored=opened, **changed))
    assert answer.status_code == 200
    assert TWICE in answer.content.decode()


def test_the_same_row_twice_in_one_form_is_an_error(staff_client, key):
    answer = staff_client.post(page(key), filled_in(key, ("read", "/search"), ("read", "/search")))
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert allowed(key) == ["read /orders/*"]


def test_a_row_may_be_taken_away_and_added_again_in_another_form_later(staff_client, key):
    staff_client.post(page(key), filled_in(key, **{"permissions-0-DELETE": "on"}))
    assert staff_client.post(page(key), filled_in(key, ("read", "/orders/*"))).status_code == 302
    assert allowed(key) == ["read /orders/*"]


def test_a_row_that_a_colleague_took_away_meanwhile_is_an_error_not_a_crash(staff_client, key):
    data = filled_in(key, **{"permissions-0-resource": "/other"})
    key.permissions.all().delete()
    answer = staff_client.post(page(key), data)
    assert answer.status_code == 200
    assert (
        "Somebody removed a row of this table while you had this page open. Reload the page." in answer.content.decode()
    )
    assert allowed(key) == []


@pytest.mark.parametrize("name", ["TOTAL_FORMS", "INITIAL_FORMS"])
@pytest.mark.parametrize("value", ["", "-1", "0", "x", "1e9", "99999999999999999999", "é"])
def test_a_form_whose_counts_were_tampered_with_is_no_crash(staff_client, key, name, value, short_formsets):
    answer = staff_client.post(page(key), filled_in(key, **{f"permissions-{name}": value}))
    assert answer.status_code in {200, 302}
    assert allowed(key) == ["read /orders/*"]


def test_a_row_of_another_key_cannot_be_changed_through_this_one(staff_client, key, bob):
    foreign = make_key(bob, allow=["read /secret"])
    row = foreign.permissions.get()
    data = filled_in(key, stored=[row], **{"permissions-0-resource": "/stolen"})
    assert staff_client.post(page(key), data).status_code in {200, 302}
    assert allowed(foreign) == ["read /secret"]
    assert allowed(key) == ["read /orders/*"]


def test_a_row_cannot_be_moved_to_another_key(staff_client, key, bob):
    foreign = make_key(bob, allow=[])
    data = filled_in(key, **{"permissions-0-api_key": foreign.pk})
    staff_client.post(page(key), data)
    assert allowed(foreign) == []
    assert allowed(key) == ["read /orders/*"]


@pytest.mark.parametrize(("right", "may"), [("view_apikey", False), ("change_apikey", True)])
def test_who_may_change_the_key_may_change_what_it_allows(client, key, right, may):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=["view_apikey", right]))
    client.force_login(clerk)
    assert client.get(page(key)).status_code == 200
    status = client.post(page(key), filled_in(key, ("create", "/orders"))).status_code
    assert status == (302 if may else 403)
    assert ("create /orders" in allowed(key)) == may
