"""The admin's user form follows the same rules as /users/ for emails and addresses."""

from __future__ import annotations

import pytest
from django.core import mail

from accounts.addresses import is_verified
from accounts.models import User
from tests.accounts.people import ALL_USER_PERMISSIONS, signed_in
from tests.rows import make_staff

pytestmark = pytest.mark.django_db


def change(client, user, **values):
    data = {
        "name": user.name, "username": user.username, "email": user.email, "tier": user.tier_id or "",
        "is_active": "on" if user.is_active else "",
    }  # fmt: skip
    return client.post(f"/admin/accounts/user/{user.pk}/change/", data | values)


def test_a_new_user_is_invited_and_not_verified(staff_client, free):
    data = {"name": "Dora", "username": "dora", "email": "dora@example.com", "tier": free.pk}
    staff_client.post("/admin/accounts/user/add/", data)
    dora = User.objects.get(username="dora")
    assert not is_verified(dora)
    assert [message.to for message in mail.outbox] == [["dora@example.com"]]


def test_a_changed_address_is_unverified_and_both_addresses_are_notified(staff_client, alice):
    change(staff_client, alice, email="new@example.com")
    alice.refresh_from_db()
    assert alice.email == "new@example.com"
    assert not is_verified(alice)
    assert {message.to[0] for message in mail.outbox} == {"alice@example.com", "new@example.com"}


def test_the_admin_list_links_to_user_pages(staff_client, alice):
    page = staff_client.get("/admin/accounts/user/?o=").content.decode()
    assert f'<a href="{alice.get_absolute_url()}?_changelist_filters=o%3D">alice</a>' in page


def test_staff_who_are_not_superusers_cannot_change_addresses(alice):
    change(signed_in(make_staff("steve", *ALL_USER_PERMISSIONS)), alice, email="mine@example.com", name="Alice Two")
    alice.refresh_from_db()
    assert (alice.email, alice.name) == ("alice@example.com", "Alice Two")
    assert mail.outbox == []
