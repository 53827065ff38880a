"""What each action on a key does, when it fails, and what the history says."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from threading import Barrier, Thread

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from apikeys import services
from apikeys.models import APIKey, KeyPermission
from apikeys.secrets import hash_secret
from config.base.history import Author
from tests.apikeys.usage.usage_makers import make_key

DAY = timedelta(days=1)
GONE = "revoked permanently"


@pytest.fixture
def by_sue(sue):
    return Author(sue)


def history(key):
    return [
        json.loads(entry.change_message)[0] for entry in LogEntry.objects.filter(object_id=str(key.pk)).order_by("pk")
    ]


def test_a_key_is_issued_with_everything_allowed_and_a_note_of_it(alice, by_sue):
    key, secret = services.issue_key(alice, by_sue, name=" export ")
    key.refresh_from_db()
    assert (key.name, key.secret_hash, key.state) == ("export", hash_secret(secret), "active")
    assert [str(row) for row in key.permissions.all()] == ["* *"]
    assert history(key)[0]["note"] == "Created for alice. Permissions: everything."
    assert LogEntry.objects.get().user == by_sue.user


def test_an_instance_from_before_the_revocation_does_not_undo_it(alice):
    key = make_key(alice)
    stale = APIKey.objects.get(pk=key.pk)
    APIKey.objects.filter(pk=key.pk).revoke("leaked")
    stale.name = "written later"
    stale.save()
    key.refresh_from_db()
    assert (key.name, key.state, key.revoked_reason) == ("written later", "revoked", "leaked")


def test_a_revocation_that_is_saved_holds(alice):
    key = make_key(alice)
    key.revoked_at = timezone.now()
    key.save()
    assert APIKey.objects.get(pk=key.pk).state == "revoked"


def test_without_a_permission_a_key_may_do_nothing(alice, by_sue):
    key, _ = services.issue_key(alice, by_sue, name="k", permissions=[])
    assert not key.permissions.exists()
    assert "Permissions: nothing." in history(key)[0]["note"]


def test_a_deleted_account_gets_no_key(alice, by_sue):
    alice.delete()
    with pytest.raises(ValidationError, match="deleted"):
        services.issue_key(alice, by_sue, name="k")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\ud800"}, "name"),
        ({"name": "k", "allowed_ips": "10.0.0.0/8"}, "allowed_ips"),
        ({"name": "k", "allowed_ips": [1]}, "allowed_ips"),
        ({"name": "k", "allowed_ips": ["10.0.0.1/8"]}, "allowed_ips"),
        ({"name": "k", "metadata": []}, "metadata"),
        ({"name": "k", "metadata": "text"}, "metadata"),
        ({"name": "k", "metadata": {"a": float("nan")}}, "metadata"),
        ({"name": "k", "metadata": {"a": "b\0"}}, "metadata"),
        ({"name": "k", "metadata": {"a": "\ud800"}}, "metadata"),
        ({"name": "k", "metadata": {"a": "b" * 10_001}}, "metadata"),
        ({"name": "k", "rate_limit": 5}, "rate_period"),
        ({"name": "k", "rate_period": 5}, "rate_limit"),
        ({"name": "k", "rate_limit": 0, "rate_period": 5}, "rate_limit"),
        ({"name": "k", "rate_limit": 5, "rate_period": 2_678_401}, "rate_period"),
        ({"name": "k", "expires_at": timezone.now() - DAY}, "expires_at"),
        ({"name": "k", "expires_at": timezone.now() + 40_000 * DAY}, "expires_at"),
    ],
    ids=str,
)
def test_what_a_key_cannot_hold_is_refused_at_its_field(alice, by_sue, fields, field):
    with pytest.raises(ValidationError) as caught:
        services.issue_key(alice, by_sue, **fields)
    assert field in caught.value.message_dict
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    "pair", [("fly", "/a"), ("read", "/a b"), ("read", ""), ("read", "a" * 256), ("read", "no name")]
)
def test_a_permission_that_is_none_is_refused(alice, by_sue, pair):
    with pytest.raises(ValidationError):
        services.issue_key(alice, by_sue, name="k", permissions=[pair])
    assert not APIKey.objects.exists()


def test_two_hundred_permissions_are_the_most(alice, by_sue):
    with pytest.raises(ValidationError, match="at most 200"):
        services.issue_key(alice, by_sue, name="k", permissions=[("read", f"/{number}") for number in range(201)])


def test_metadata_of_none_is_an_empty_object(alice, by_sue):
    key, _ = services.issue_key(alice, by_sue, name="k", metadata=None)
    assert key.metadata == {}


def test_rotating_keeps_the_key_and_replaces_its_secret(alice, by_sue):
    key = make_key(alice, permissions=[("read", "/a")])
    old, pk = key.secret_hash, key.pk
    secret = services.rotate_key(key, by_sue)
    key.refresh_from_db()
    assert (key.pk, key.secret_hash, key.previous_hash, key.previous_expires_at) == (
        pk,
        hash_secret(secret),
        None,
        None,
    )
    assert (key.prefix, key.last4) == (secret[:11], secret[-4:])
    assert old != key.secret_hash
    assert [str(row) for row in key.permissions.all()] == ["read /a"]
    assert history(key)[-1]["note"] == "Rotated."


def test_the_grace_never_outlives_the_key(alice, by_sue):
    expires_at = timezone.now() + DAY
    key = make_key(alice, expires_at=expires_at)
    services.rotate_key(key, by_sue, grace=7 * DAY)
    key.refresh_from_db()
    assert key.previous_expires_at == expires_at


def test_a_second_rotation_ends_the_first_secret_and_forgets_its_use(alice, by_sue):
    key = make_key(alice)
    services.rotate_key(key, by_sue, grace=DAY)
    APIKey.objects.update(previous_last_used_at=timezone.now())
    second = key.secret_hash
    services.rotate_key(key, by_sue, grace=DAY)
    key.refresh_from_db()
    assert (key.previous_hash, key.previous_last_used_at) == (second, None)


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), 30 * DAY + timedelta(seconds=1)])
def test_a_grace_beyond_thirty_days_is_refused(alice, by_sue, grace):
    with pytest.raises(ValidationError, match="30 days"):
        services.rotate_key(make_key(alice), by_sue, grace=grace)


def test_a_key_rotated_meanwhile_is_not_rotated_on_a_stale_view(alice, by_sue):
    key = make_key(alice)
    stale = APIKey.objects.get(pk=key.pk)
    services.rotate_key(key, by_sue)
    with pytest.raises(ValidationError, match="Check the key and try again"):
        services.rotate_key(stale, by_sue)


def test_a_rehash_meanwhile_does_not_hinder_a_rotation(alice, by_sue):
    key = make_key(alice)
    APIKey.objects.filter(pk=key.pk).update(secret_hash="f" * 64)
    services.rotate_key(key, by_sue, grace=DAY)
    key.refresh_from_db()
    assert key.previous_hash == "f" * 64


def test_an_expired_key_is_not_rotated(alice, by_sue):
    key = make_key(alice)
    APIKey.objects.update(expires_at=timezone.now() - DAY)
    key.refresh_from_db()
    with pytest.raises(ValidationError, match="expired"):
        services.rotate_key(key, by_sue)


def test_disabling_twice_is_told_once(alice, by_sue):
    key = make_key(alice)
    services.set_enabled(key, by_sue, enabled=False)
    services.set_enabled(key, by_sue, enabled=False)
    assert [entry.get("note") for entry in history(key)[1:]] == ["Disabled."]
    assert history(key)[-1]["values"] == [{"field": "enabled", "old": "yes", "new": "no"}]


def test_no_stale_step_brings_a_revoked_key_back(alice, by_sue):
    key = make_key(alice, expires_at=timezone.now() + 10 * DAY)
    stale = [APIKey.objects.get(pk=key.pk) for _ in range(5)]
    services.revoke_key(key, by_sue, reason="leaked")
    steps = (
        lambda: services.set_enabled(stale[0], by_sue, enabled=False),
        lambda: services.rotate_key(stale[1], by_sue),
        lambda: services.edit_key(stale[2], by_sue, name="new", permissions=[("read", "/a")]),
        lambda: services.shorten_expiry(stale[3], by_sue, expires_at=timezone.now() + DAY),
        lambda: services.revoke_key(stale[4], by_sue, reason="other"),
    )
    for step in steps:
        with pytest.raises(ValidationError, match=GONE):
            step()
    key.refresh_from_db()
    assert (key.state, key.revoked_reason, key.name) == ("revoked", "leaked", "a key")
    assert [str(row) for row in key.permissions.all()] == ["* *"]


def test_a_revoked_key_stays_revoked_through_delete_and_restore(alice, by_sue):
    key = make_key(alice)
    services.revoke_key(key, by_sue, reason="leaked")
    key.delete()
    key.restore()
    assert key.state == "revoked"


def test_a_deleted_key_can_still_be_revoked_and_nothing_else(alice, by_sue):
    key = make_key(alice)
    key.delete()
    with pytest.raises(ValidationError, match="deleted"):
        services.set_enabled(key, by_sue, enabled=False)
    services.revoke_key(key, by_sue, reason="leaked")
    key.restore()
    assert key.state == "revoked"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 256])
def test_a_revocation_needs_a_reason_that_fits(alice, by_sue, reason):
    key = make_key(alice)
    with pytest.raises(ValidationError) as caught:
        services.revoke_key(key, by_sue, reason=reason)
    assert "reason" in caught.value.message_dict
    key.refresh_from_db()
    assert key.state == "active"


def test_expiry_moves_forward_only_and_takes_the_old_secret_along(alice, by_sue):
    key = make_key(alice)
    services.rotate_key(key, by_sue, grace=30 * DAY)
    soon = timezone.now() + 5 * DAY
    services.shorten_expiry(key, by_sue, expires_at=soon)
    assert (key.expires_at, key.previous_expires_at) == (soon, soon)
    for later in (soon, soon + DAY):
        with pytest.raises(ValidationError):
            services.shorten_expiry(key, by_sue, expires_at=later)
    with pytest.raises(ValidationError, match="future"):
        services.shorten_expiry(key, by_sue, expires_at=timezone.now() - DAY)


def test_an_edit_is_in_the_history_with_old_and_new_values(alice, by_sue):
    key = make_key(alice, permissions=[("read", "/a"), ("read", "/b")])
    kept = KeyPermission.objects.get(resource="/a").pk
    services.edit_key(key, by_sue, name="renamed", permissions=[("read", "/a"), ("create", "/c")])
    assert history(key)[-1]["values"] == [
        {"field": "name", "old": "a key", "new": "renamed"},
        {"field": "permissions", "old": "read /a, read /b", "new": "create /c, read /a"},
    ]
    assert KeyPermission.objects.filter(pk=kept).exists()


def test_an_edit_that_changes_nothing_is_not_in_the_history(alice, by_sue):
    key = make_key(alice)
    services.edit_key(key, by_sue, name=key.name, permissions=[("*", "*")])
    assert len(history(key)) == 1


def test_what_the_decision_writes_meanwhile_is_no_change_of_a_person(alice, by_sue):
    key = make_key(alice)
    APIKey.objects.update(last_used_at=timezone.now(), last_used_ip="192.0.2.1")
    services.set_enabled(key, by_sue, enabled=False)
    assert [change["field"] for change in history(key)[-1]["values"]] == ["enabled"]


def test_the_history_names_where_and_from_which_address(alice, rf, sue):
    request = rf.post("/", REMOTE_ADDR="192.0.2.7")
    key, _ = services.issue_key(alice, Author(sue, request), name="k")
    services.revoke_key(key, Author(alice, via="manage.py revoke_key"), reason="x")
    assert history(key)[0]["ip"] == "192.0.2.7"
    assert history(key)[1]["via"] == "manage.py revoke_key"


def run_at_once(*steps):
    barrier, caught = Barrier(len(steps)), []

    def run(step):
        barrier.wait()
        try:
            step()
        except ValidationError as error:
            caught.append(error)
        finally:
            connection.close()

    threads = [Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return caught


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_round", range(5))
def test_of_two_rotations_at_once_one_wins(alice, _round):
    key = make_key(alice)
    secrets = []

    def rotate(view):
        secrets.append(services.rotate_key(view, Author(alice)))

    caught = run_at_once(*(partial(rotate, APIKey.objects.get(pk=key.pk)) for _ in range(2)))
    key.refresh_from_db()
    assert len(caught) == 1
    assert key.secret_hash == hash_secret(secrets[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_round", range(5))
def test_a_revocation_wins_every_race(alice, _round):
    key, author = make_key(alice), Author(alice)
    one, two, three, four = (APIKey.objects.get(pk=key.pk) for _ in range(4))
    run_at_once(
        partial(services.revoke_key, one, author, reason="leaked"),
        partial(services.set_enabled, two, author, enabled=False),
        partial(services.rotate_key, three, author),
        partial(services.edit_key, four, author, name="edited"),
    )
    key.refresh_from_db()
    assert key.state == "revoked"
