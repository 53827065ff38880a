"""A superuser always remains, even when two act at the same time."""

from __future__ import annotations

import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import connections

from accounts import services
from accounts.erasure import erase
from accounts.models import User
from config.base.history import Author
from tests.accounts.people import messages, signed_in
from tests.conftest import make_user


@pytest.mark.django_db
@pytest.mark.parametrize("verb", [services.suspend, services.delete])
def test_the_last_superuser_stays(sue, alice, verb):
    with pytest.raises(ValidationError, match="last superuser"):
        verb(User.objects.all(), Author(sue))
    assert User.objects.effective().count() == 2


@pytest.mark.django_db
def test_the_refusal_is_a_message(sue, alice):
    # Not reachable by the pages alone, which never act on oneself: only by two superusers at once.
    sam = make_user("sam", is_staff=True, is_superuser=True)
    client = signed_in(sam)
    User.objects.filter(pk=sam.pk).update(is_superuser=False)
    sam.user_permissions.clear()
    response = client.post(f"/users/{sue.pk}/suspend/")
    assert response.status_code == 403
    assert messages(client.get("/account/")) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ["suspend", "delete", "erase"])
def test_of_two_superusers_who_remove_each_other_at_once_one_stays(free, action):
    pair = [make_user(name, is_staff=True, is_superuser=True) for name in ("sue", "sam")]
    barrier, statuses = threading.Barrier(2), []

    def remove(client, target):
        barrier.wait()
        response = client.post(f"/users/{target.pk}/{action}/", {"username": target.username})
        statuses.append(response.status_code)
        connections.close_all()

    threads = [
        threading.Thread(target=remove, args=(signed_in(actor), target)) for actor, target in (pair, reversed(pair))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert User.objects.superusers().count() == 1
    assert all(status in {200, 302, 403} for status in statuses)


@pytest.mark.django_db
def test_an_erasure_that_is_rejected_changes_nothing(sue):
    with pytest.raises(ValidationError):
        erase(sue, Author(sue))
    sue.refresh_from_db()
    assert sue.is_effective
