"""Concurrent requests in the admin: conflicts over a unique value are form errors, not server errors."""

from __future__ import annotations

import pytest
from django.db import IntegrityError
from django.test import Client

from accounts.models import User
from tests.conftest import make_user
from tests.parallel import in_parallel
from tiers.models import Tier


@pytest.fixture
def root(transactional_db):
    Tier.objects.get_or_create(name="free")
    return make_user("root", is_staff=True, is_superuser=True)


def signed_in_clients(user, count):
    clients = []
    for _ in range(count):
        client = Client()
        client.force_login(user)
        clients.append(client)
    return clients


def test_adding_users_with_one_address_at_once_creates_one(root):
    clients = signed_in_clients(root, 20)

    def add(number):
        data = {"name": "Same", "username": f"same_{number}", "email": "same@example.com"}
        return clients[number].post("/admin/accounts/user/add/", data)

    answers = in_parallel(20, add)
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [302]
    assert User.objects.filter(email="same@example.com").count() == 1
    for answer in answers:
        if answer.status_code == 200:
            assert "Another user has this email address." in answer.content.decode()


def test_adding_tiers_with_one_name_at_once_creates_one(root):
    clients = signed_in_clients(root, 8)
    answers = in_parallel(8, lambda number: clients[number].post("/admin/tiers/tier/add/", {"name": "pro"}))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [302]
    assert Tier.objects.filter(name="pro").count() == 1


def test_restoring_tiers_with_one_name_at_once_restores_one(root):
    twins = []
    for _ in range(2):
        tier = Tier.objects.create(name="twin")
        tier.delete()
        twins.append(tier)
    clients = signed_in_clients(root, 2)
    answers = in_parallel(
        2, lambda number: clients[number].post(f"/admin/tiers/tier/{twins[number].pk}/restore/", {"post": "yes"})
    )
    assert sorted(answer.status_code for answer in answers) == [200, 302]
    assert Tier.objects.live().filter(name="twin").count() == 1


def test_two_superusers_who_delete_each_other_at_once_leave_one(root):
    other = make_user("other", is_staff=True, is_superuser=True)
    pair = [(signed_in_clients(root, 1)[0], other), (signed_in_clients(other, 1)[0], root)]

    def delete(number):
        client, target = pair[number]
        return client.post(f"/admin/accounts/user/{target.pk}/delete/", {"post": "yes"}).status_code

    assert 302 in in_parallel(2, delete)
    assert User.objects.superusers().count() == 1


@pytest.mark.django_db
def test_a_database_error_that_persists_is_raised(staff_client, monkeypatch):
    def broken(self, **options):
        raise IntegrityError("forever")

    monkeypatch.setattr(Tier, "save", broken)
    with pytest.raises(IntegrityError):
        staff_client.post("/admin/tiers/tier/add/", {"name": "x"})
