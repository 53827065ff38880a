"""What each action on a key does, when it fails, and what the history says."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.utils import timezone

from apikeys import services
from apikeys.models import APIKey, KeyPermission
from apikeys.secrets import hash_secret
from config.base.history import Author
from tests.apikeys.usage.events import issue_key_to
from tests.parallel import in_parallel

DAY = timedelta(days=1)
REVOKED_MESSAGE = "revoked permanently"


@pytest.fixture
def by_sue(sue):
    return Author(sue)


def history(key):
    return [
        json.loads(entry.change_message)[0] for entry in LogEntry.objects.filter(object_id=str(key.pk)).order_by("pk")
    ]


def test_issued_key_allows_everything_and_is_logged(alice, by_sue):
    key, secret = services.issue_key(alice, by_sue, name=" export ")
    key.refresh_from_db()
    assert (key.name, key.secret_hash, key.state) == ("export", hash_secret(secret), "active")
    assert [str(row) for row in key.permissions.all()] == ["* *"]
    assert history(key)[0]["note"] == "Created for “alice”. Permissions: everything."
    assert LogEntry.objects.get().user == by_sue.user


def test_saving_a_stale_instance_does_not_undo_revocation(alice):
    key = issue_key_to(alice)
    stale = APIKey.objects.get(pk=key.pk)
    APIKey.objects.filter(pk=key.pk).revoke("leaked")
    stale.name = "written later"
    stale.save()
    key.refresh_from_db()
    assert (key.name, key.state, key.revoked_reason) == ("written later", "revoked", "leaked")


def test_revoked_at_can_be_saved(alice):
    key = issue_key_to(alice)
    key.revoked_at = timezone.now()
    key.save()
    assert APIKey.objects.get(pk=key.pk).state == "revoked"


def test_key_issued_without_permissions_has_none(alice, by_sue):
    key, _ = services.issue_key(alice, by_sue, name="k", permissions=[])
    assert not key.permissions.exists()
    assert "Permissions: nothing." in history(key)[0]["note"]


def test_issuing_a_key_to_a_deleted_user_fails(alice, by_sue):
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
def test_invalid_value_is_a_field_error(alice, by_sue, fields, field):
    with pytest.raises(ValidationError) as caught:
        services.issue_key(alice, by_sue, **fields)
    assert field in caught.value.message_dict
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    "pair", [("fly", "/a"), ("read", "/a b"), ("read", ""), ("read", "a" * 256), ("read", "no name")]
)
def test_invalid_permission_is_rejected(alice, by_sue, pair):
    with pytest.raises(ValidationError):
        services.issue_key(alice, by_sue, name="k", permissions=[pair])
    assert not APIKey.objects.exists()


def test_more_than_200_permissions_are_rejected(alice, by_sue):
    with pytest.raises(ValidationError, match="at most 200"):
        services.issue_key(alice, by_sue, name="k", permissions=[("read", f"/{number}") for number in range(201)])


def test_metadata_of_none_is_an_empty_object(alice, by_sue):
    key, _ = services.issue_key(alice, by_sue, name="k", metadata=None)
    assert key.metadata == {}


def test_rotating_keeps_the_key_and_replaces_its_secret(alice, by_sue):
    key = issue_key_to(alice, permissions=[("read", "/a")])
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


def test_grace_period_ends_when_the_key_expires(alice, by_sue):
    expires_at = timezone.now() + DAY
    key = issue_key_to(alice, expires_at=expires_at)
    services.rotate_key(key, by_sue, grace=7 * DAY)
    key.refresh_from_db()
    assert key.previous_expires_at == expires_at


def test_second_rotation_drops_the_first_secret_and_its_last_use(alice, by_sue):
    key = issue_key_to(alice)
    services.rotate_key(key, by_sue, grace=DAY)
    APIKey.objects.update(previous_last_used_at=timezone.now())
    second = key.secret_hash
    services.rotate_key(key, by_sue, grace=DAY)
    key.refresh_from_db()
    assert (key.previous_hash, key.previous_last_used_at) == (second, None)


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), 30 * DAY + timedelta(seconds=1)])
def test_grace_period_must_be_0_to_30_days(alice, by_sue, grace):
    with pytest.raises(ValidationError, match="30 days"):
        services.rotate_key(issue_key_to(alice), by_sue, grace=grace)


def test_rotating_a_stale_instance_fails(alice, by_sue):
    key = issue_key_to(alice)
    stale = APIKey.objects.get(pk=key.pk)
    services.rotate_key(key, by_sue)
    with pytest.raises(ValidationError, match="Check the key and try again"):
        services.rotate_key(stale, by_sue)


def test_rotation_succeeds_after_a_concurrent_rehash(alice, by_sue):
    key = issue_key_to(alice)
    APIKey.objects.filter(pk=key.pk).update(secret_hash="f" * 64)
    services.rotate_key(key, by_sue, grace=DAY)
    key.refresh_from_db()
    assert key.previous_hash == "f" * 64


def test_expired_key_cannot_be_rotated(alice, by_sue):
    key = issue_key_to(alice)
    APIKey.objects.update(expires_at=timezone.now() - DAY)
    key.refresh_from_db()
    with pytest.raises(ValidationError, match="expired"):
        services.rotate_key(key, by_sue)


def test_disabling_twice_is_logged_once(alice, by_sue):
    key = issue_key_to(alice)
    services.set_enabled(key, by_sue, enabled=False)
    services.set_enabled(key, by_sue, enabled=False)
    assert [entry.get("note") for entry in history(key)[1:]] == ["Disabled."]
    assert history(key)[-1]["values"] == [{"field": "enabled", "old": "yes", "new": "no"}]


def test_actions_on_stale_instances_do_not_undo_revocation(alice, by_sue):
    key = issue_key_to(alice, expires_at=timezone.now() + 10 * DAY)
    stale = [APIKey.objects.get(pk=key.pk) for _ in range(5)]
    services.revoke_key(key, by_sue, reason="leaked")
    actions = (
        lambda: services.set_enabled(stale[0], by_sue, enabled=False),
        lambda: services.rotate_key(stale[1], by_sue),
        lambda: services.edit_key(stale[2], by_sue, name="new", permissions=[("read", "/a")]),
        lambda: services.shorten_expiry(stale[3], by_sue, expires_at=timezone.now() + DAY),
        lambda: services.revoke_key(stale[4], by_sue, reason="other"),
    )
    for action in actions:
        with pytest.raises(ValidationError, match=REVOKED_MESSAGE):
            action()
    key.refresh_from_db()
    assert (key.state, key.revoked_reason, key.name) == ("revoked", "leaked", "a key")
    assert [str(row) for row in key.permissions.all()] == ["* *"]


def test_revoked_key_stays_revoked_after_delete_and_restore(alice, by_sue):
    key = issue_key_to(alice)
    services.revoke_key(key, by_sue, reason="leaked")
    key.delete()
    key.restore()
    assert key.state == "revoked"


def test_deleted_key_can_only_be_revoked(alice, by_sue):
    key = issue_key_to(alice)
    key.delete()
    with pytest.raises(ValidationError, match="deleted"):
        services.set_enabled(key, by_sue, enabled=False)
    services.revoke_key(key, by_sue, reason="leaked")
    key.restore()
    assert key.state == "revoked"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 256])
def test_revocation_requires_a_reason_of_valid_length(alice, by_sue, reason):
    key = issue_key_to(alice)
    with pytest.raises(ValidationError) as caught:
        services.revoke_key(key, by_sue, reason=reason)
    assert "reason" in caught.value.message_dict
    key.refresh_from_db()
    assert key.state == "active"


def test_expiry_can_only_be_shortened_and_applies_to_the_old_secret(alice, by_sue):
    key = issue_key_to(alice)
    services.rotate_key(key, by_sue, grace=30 * DAY)
    soon = timezone.now() + 5 * DAY
    services.shorten_expiry(key, by_sue, expires_at=soon)
    assert (key.expires_at, key.previous_expires_at) == (soon, soon)
    for later in (soon, soon + DAY):
        with pytest.raises(ValidationError):
            services.shorten_expiry(key, by_sue, expires_at=later)
    with pytest.raises(ValidationError, match="future"):
        services.shorten_expiry(key, by_sue, expires_at=timezone.now() - DAY)


def test_edit_is_logged_with_old_and_new_values(alice, by_sue):
    key = issue_key_to(alice, permissions=[("read", "/a"), ("read", "/b")])
    kept = KeyPermission.objects.get(resource="/a").pk
    services.edit_key(key, by_sue, name="renamed", permissions=[("read", "/a"), ("create", "/c")])
    assert history(key)[-1]["values"] == [
        {"field": "name", "old": "a key", "new": "renamed"},
        {"field": "permissions", "old": "read /a, read /b", "new": "create /c, read /a"},
    ]
    assert KeyPermission.objects.filter(pk=kept).exists()


def test_edit_without_changes_is_not_logged(alice, by_sue):
    key = issue_key_to(alice)
    services.edit_key(key, by_sue, name=key.name, permissions=[("*", "*")])
    assert len(history(key)) == 1


def test_last_use_is_not_logged_as_a_change(alice, by_sue):
    key = issue_key_to(alice)
    APIKey.objects.update(last_used_at=timezone.now(), last_used_ip="192.0.2.1")
    services.set_enabled(key, by_sue, enabled=False)
    assert [change["field"] for change in history(key)[-1]["values"]] == ["enabled"]


def test_history_has_address_and_command(alice, rf, sue):
    request = rf.post("/", REMOTE_ADDR="192.0.2.7")
    key, _ = services.issue_key(alice, Author(sue, request), name="k")
    services.revoke_key(key, Author(alice, via="manage.py revoke_key"), reason="x")
    assert history(key)[0]["ip"] == "192.0.2.7"
    assert history(key)[1]["via"] == "manage.py revoke_key"


def run_concurrently(*actions):
    """Returns the errors of the actions that failed."""

    def run(number):
        try:
            actions[number]()
        except ValidationError as error:
            return error
        return None

    return [error for error in in_parallel(len(actions), run) if error]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_round", range(5))
def test_only_one_of_two_concurrent_rotations_succeeds(alice, _round):
    key = issue_key_to(alice)
    secrets = []

    def rotate(instance):
        secrets.append(services.rotate_key(instance, Author(alice)))

    errors = run_concurrently(*(partial(rotate, APIKey.objects.get(pk=key.pk)) for _ in range(2)))
    key.refresh_from_db()
    assert len(errors) == 1
    assert key.secret_hash == hash_secret(secrets[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_round", range(5))
def test_key_revoked_during_other_changes_stays_revoked(alice, _round):
    key, author = issue_key_to(alice), Author(alice)
    one, two, three, four = (APIKey.objects.get(pk=key.pk) for _ in range(4))
    run_concurrently(
        partial(services.revoke_key, one, author, reason="leaked"),
        partial(services.set_enabled, two, author, enabled=False),
        partial(services.rotate_key, three, author),
        partial(services.edit_key, four, author, name="edited"),
    )
    key.refresh_from_db()
    assert key.state == "revoked"
