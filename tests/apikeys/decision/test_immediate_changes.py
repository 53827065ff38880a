"""A change to a key applies to the next request on every worker, tested with four workers under constant load."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys.models import APIKey, KeyPermission, KeyUsage
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.load import Clients
from tests.apikeys.gateway.servers import gatehouse

pytestmark = pytest.mark.django_db(transaction=True)


def permission(key):
    return KeyPermission.objects.filter(api_key=key)


# The change, how to undo it (if possible), and the status after the change.
CHANGES = {
    "disable": (lambda key: key_row(key).update(is_active=False), lambda key: key_row(key).update(is_active=True), 401),
    "expire": (
        lambda key: key_row(key).update(expires_at=timezone.now()),
        lambda key: key_row(key).update(expires_at=timezone.now() + timedelta(days=1)),
        401,
    ),
    "restrict to another resource": (
        lambda key: permission(key).update(resource="/invoices"),
        lambda key: permission(key).update(resource="*"),
        403,
    ),
    "restrict the tier": (
        lambda key: key.user.tier.access.update(resource="/invoices"),
        lambda key: key.user.tier.access.update(resource="*"),
        403,
    ),
    "restrict to an address": (
        lambda key: key_row(key).update(allowed_ips=["192.0.2.1"]),
        lambda key: key_row(key).update(allowed_ips=[]),
        403,
    ),
    "suspend the owner": (lambda key: key.user.suspend(), lambda key: key.user.reactivate(), 401),
    "delete the owner": (lambda key: key.user.delete(), lambda key: key.user.restore(), 401),
    "delete": (lambda key: key.delete(), lambda key: key.restore(), 401),
    "revoke": (lambda key: key_row(key).revoke("leaked"), None, 401),
}


def key_row(key):
    return APIKey.objects.filter(pk=key.pk)


def test_change_applies_to_the_next_request_on_every_worker(tmp_path, alice, counters):
    key = make_key(alice)
    with (
        gatehouse(tmp_path, workers=4, DEFAULT_RATE_LIMIT_LIMIT="1000000000") as server,
        Clients(server.port, [key.secret], threads=6) as clients,
    ):
        clients.wait_for(50)
        for name, (change, undo, status) in CHANGES.items():
            for _ in range(5 if undo else 1):
                before = len(clients.answers)
                clients.wait_for(12)
                assert 200 in {answer.status for answer in clients.answers[before:]}, name
                change(key)
                changed_at = time.monotonic()
                clients.wait_for(24)
                later = Counter(answer.status for answer in list(clients.answers) if answer.at >= changed_at)
                assert set(later) == {status}, (name, later)
                if undo:
                    undo(key)
                    undone_at = time.monotonic()
                    clients.wait_for(24)
                    later = Counter(answer.status for answer in list(clients.answers) if answer.at >= undone_at)
                    assert set(later) == {200}, (name, later)
    assert KeyUsage.objects.filter(status_code=200).count() == sum(a.status == 200 for a in clients.answers)
