"""The last superuser can't be removed, even by two superusers at the same time."""

from __future__ import annotations

import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import connections

from accounts import services
from accounts.models import User
from accounts.staff.forms import AccessForm
from config.base.history import Author
from config.base.stale import ConcurrentChange
from tests.accounts.people import signed_in
from tests.conftest import make_user
from tests.pages import opened
from tests.parallel import in_parallel


@pytest.mark.django_db
@pytest.mark.parametrize("service", [services.suspend, services.delete])
def test_the_last_superuser_cannot_be_suspended_or_deleted(sue, alice, service):
    with pytest.raises(ValidationError, match="last superuser"):
        service(User.objects.all(), Author(sue))
    assert User.objects.effective().count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ["suspend", "delete", "erase"])
def test_two_superusers_who_remove_each_other_at_once_leave_one(free, action):
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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("page", "field"),
    [
        ("/users/{}/access/", "is_superuser"),
        ("/admin/accounts/user/{}/change/", "is_superuser"),
        ("/admin/accounts/user/{}/change/", "is_active"),
    ],
)
def test_two_superusers_who_demote_each_other_at_once_leave_one(free, page, field):
    pair = [make_user(name, is_staff=True, is_superuser=True) for name in ("sue", "sam")]
    work = []
    for actor, target in (pair, reversed(pair)):
        client, url = signed_in(actor), page.format(target.pk)
        sent = {name: value for name, value in opened(client, url, "is_staff").items() if name != field}
        work.append((client, url, sent))
    responses = in_parallel(2, lambda number: work[number][0].post(work[number][1], work[number][2]))
    assert {response.status_code for response in responses} <= {200, 302, 403}
    assert User.objects.superusers().count() == 1


@pytest.mark.django_db
def test_saving_a_form_never_removes_the_last_superuser(sue):
    sam = make_user("sam", is_staff=True, is_superuser=True)
    form = AccessForm({"is_staff": "on"}, instance=sam, actor=sue)
    assert form.is_valid()
    User.objects.filter(pk=sue.pk).update(is_superuser=False)
    with pytest.raises(ConcurrentChange):
        services.update(form, Author(sue))
    assert User.objects.get(pk=sam.pk).is_superuser
