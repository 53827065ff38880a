"""The form of a key in the admin: permissions, concurrent edits, tampered data."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse

from apikeys import services
from apikeys.models import KeyPermission
from config.base.history import Author, describe
from tests.accounts.people import signed_in
from tests.apikeys.pages.key_form import filled_in
from tests.conftest import make_user
from tests.pages import fields_of, opened, text_of
from tests.rows import make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(alice):
    return make_key(alice, allow=["read /orders/*"])


def page(key):
    return reverse("admin:apikeys_apikey_change", args=[key.pk])


def permissions_of(key):
    return sorted(str(permission) for permission in key.permissions.all())


def field_names(client, url):
    return {name for name in opened(client, url) if not name.startswith(("_opened", "csrf", "form_token"))}


def test_staff_form_is_the_owners_form_with_extra_fields(staff_client, alice, key):
    own = signed_in(alice)
    assert field_names(staff_client, page(key)) - field_names(own, f"/account/keys/{key.pk}/edit/") == {"metadata"}
    create = field_names(staff_client, "/admin/apikeys/apikey/add/") - field_names(own, "/account/keys/new/")
    assert create == {"metadata", "owner"}


def test_staff_can_create_a_key_with_metadata(staff_client, alice):
    form = opened(staff_client, "/admin/apikeys/apikey/add/")
    page = staff_client.post(
        "/admin/apikeys/apikey/add/", form | {"owner": "alice", "name": "k", "metadata": '{"team": "x"}'}
    )
    assert page.context["key"].metadata == {"team": "x"}


def test_new_permission_is_stored_and_logged(staff_client, key):
    assert staff_client.post(page(key), filled_in(key, ("create", "/orders"))).status_code == 302
    assert permissions_of(key) == ["create /orders", "read /orders/*"]
    entry = describe(LogEntry.objects.first())
    assert entry.values == [{"field": "permissions", "old": "read /orders/*", "new": "create /orders, read /orders/*"}]
    assert entry.via == "admin"


def test_unchanged_form_changes_nothing(staff_client, key):
    staff_client.post(page(key), opened(staff_client, page(key)))
    assert permissions_of(key) == ["read /orders/*"]
    assert not LogEntry.objects.exists()


def test_cleared_row_is_removed(staff_client, key):
    form = opened(staff_client, page(key)) | {"permissions-1-resource": "/new", "permissions-1-actions": ["read"]}
    form |= {"permissions-0-resource": "", "permissions-0-actions": []}
    assert staff_client.post(page(key), form).status_code == 302
    assert permissions_of(key) == ["read /new"]


def test_concurrent_change_is_shown_and_input_is_kept(staff_client, key, sue):
    form = opened(staff_client, page(key))
    services.edit_key(key, Author(sue), permissions=[("create", "/orders")])
    changed = {"permissions-0-resource": "/mine", "name": "typed meanwhile"}
    response = staff_client.post(page(key), form | changed)
    assert response.status_code == 400
    assert "sue changed this to “create /orders” just now" in text_of(response)
    again = fields_of(response.content.decode(), "name")
    assert (again["name"], again["permissions-0-resource"]) == (["typed meanwhile"], ["/mine"])
    assert permissions_of(key) == ["create /orders"]
    staff_client.post(page(key), again)
    assert permissions_of(key) == ["read /mine"]


@pytest.mark.parametrize("name", ["TOTAL_FORMS", "INITIAL_FORMS"])
@pytest.mark.parametrize("value", ["", "-1", "0", "x", "1e9", "99999999999999999999", "é"])
def test_tampered_form_counts_are_handled(staff_client, key, name, value):
    answer = staff_client.post(page(key), filled_in(key, **{f"permissions-{name}": value}))
    assert answer.status_code in {302, 400}
    assert permissions_of(key) == ["read /orders/*"]


@pytest.mark.parametrize(("right", "is_allowed"), [("view_apikey", False), ("change_apikey", True)])
def test_change_permission_is_needed_to_edit_key_permissions(client, key, right, is_allowed):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=["view_apikey", right]))
    client.force_login(clerk)
    assert ("permissions-0-resource" in text_of(client.get(page(key)))) == is_allowed
    status = client.post(page(key), filled_in(key, ("create", "/orders"))).status_code
    assert status == (302 if is_allowed else 403)
    assert ("create /orders" in permissions_of(key)) == is_allowed


def test_deleted_key_is_shown_without_a_form(staff_client, key):
    key.delete()
    shown = text_of(staff_client.get(page(key)))
    assert "Restore it to edit it." in shown
    assert 'name="metadata"' not in shown
    response = staff_client.post(page(key), filled_in(key, ("create", "/x")), follow=True)
    assert "This API key has been deleted. Nothing was saved." in text_of(response)
    assert KeyPermission.objects.count() == 1


def test_unknown_key_page_is_404(staff_client, key):
    for pk in ("x", "00000000-0000-0000-0000-000000000000"):
        assert staff_client.get(f"/admin/apikeys/apikey/{pk}/change/").status_code == 404
