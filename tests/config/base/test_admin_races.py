"""A lost race for a unique value is a form error, never a 500, with real threads and connections on both databases."""

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


def clients(user, count):
    made = []
    for _ in range(count):
        client = Client()
        client.force_login(user)
        made.append(client)
    return made


def test_twenty_accounts_of_one_address_at_once_give_one_row_and_nineteen_form_errors(root):
    signed_in = clients(root, 20)

    def add(number):
        data = {"name": "Same", "username": f"same_{number}", "email": "same@example.com"}
        return signed_in[number].post("/admin/accounts/user/add/", data)

    answers = in_parallel(20, add)
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [302]
    assert User.objects.filter(email="same@example.com").count() == 1
    for answer in answers:
        if answer.status_code == 200:
            assert "Another user has this email address." in answer.content.decode()


def test_eight_tiers_of_one_name_at_once(root):
    signed_in = clients(root, 8)
    answers = in_parallel(8, lambda number: signed_in[number].post("/admin/tiers/tier/add/", {"name": "pro"}))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [302]
    assert Tier.objects.filter(name="pro").count() == 1


def test_two_restores_of_one_name_at_once_bring_back_one(root):
    twins = []
    for _ in range(2):
        tier = Tier.objects.create(name="twin")
        tier.delete()
        twins.append(tier)
    signed_in = clients(root, 2)
    answers = in_parallel(
        2, lambda number: signed_in[number].post(f"/admin/tiers/tier/{twins[number].pk}/restore/", {"post": "yes"})
    )
    assert sorted(answer.status_code for answer in answers) == [200, 302]
    assert Tier.objects.live().filter(name="twin").count() == 1


def test_two_superusers_who_delete_each_other_at_once_leave_one(root):
    other = make_user("other", is_staff=True, is_superuser=True)
    pair = [(clients(root, 1)[0], other), (clients(other, 1)[0], root)]

    def delete(number):
        client, target = pair[number]
        return client.post(f"/admin/accounts/user/{target.pk}/delete/", {"post": "yes"}).status_code

    assert 302 in in_parallel(2, delete)
    assert User.objects.superusers().count() == 1


def test_a_tier_is_not_deleted_while_somebody_is_put_on_it(root):
    tier = Tier.objects.create(name="pro")
    user = make_user("nina", tier=None)
    first, second = clients(root, 2)

    def work(number):
        if number:
            data = {"name": "Nina", "username": "nina", "email": user.email, "tier": tier.pk, "is_active": "on"}
            return second.post(f"/admin/accounts/user/{user.pk}/change/", data).status_code
        return first.post(f"/admin/tiers/tier/{tier.pk}/delete/", {"post": "yes"}).status_code

    assert set(in_parallel(2, work)) <= {200, 302}
    tier.refresh_from_db()
    user.refresh_from_db()
    assert tier.deleted_at is None or user.tier is None


@pytest.mark.django_db
def test_an_error_of_the_database_that_stays_is_not_hidden(staff_client, monkeypatch):
    def broken(self, **options):
        raise IntegrityError("forever")

    monkeypatch.setattr(Tier, "save", broken)
    with pytest.raises(IntegrityError):
        staff_client.post("/admin/tiers/tier/add/", {"name": "x"})
