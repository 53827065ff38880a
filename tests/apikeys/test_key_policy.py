"""A tier limits how many keys each of its users can have and when they must expire. Existing keys aren't affected."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from apikeys.models import APIKey
from apikeys.services import issue_key, restore_keys, rotate_key
from config.base.history import Author
from tests.conftest import make_user
from tests.parallel import in_parallel
from tests.rows import make_key
from tiers.models import Tier

NEW = "/account/keys/new/"
DAY = timedelta(days=1)


@pytest.fixture
def policy(free):
    def policy(**fields):
        Tier.objects.filter(pk=free.pk).update(**fields)

    return policy


def issue(user, **fields):
    return issue_key(user, Author(user), **{"name": "k", **fields})[0]


def issue_error(user, **fields):
    with pytest.raises(ValidationError) as caught:
        issue(user, **fields)
    return " ".join(caught.value.messages)


def test_key_beyond_max_keys_is_rejected(policy, alice, bob):
    policy(max_keys=2)
    first = issue(alice)
    issue(alice)
    assert issue_error(alice) == "The tier “free” allows 2 keys per user. Revoke one that isn't needed first."
    issue(bob)
    APIKey.objects.filter(pk=first.pk).revoke("not needed")
    issue(alice)


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"is_active": False}, True),
        ({"revoked_at": timezone.now()}, False),
        ({"expires_at": timezone.now()}, False),
        ({"deleted_at": timezone.now()}, False),
    ],
)
def test_max_keys_counts_only_keys_that_can_still_work(policy, alice, fields, counts):
    policy(max_keys=1)
    APIKey.objects.filter(pk=make_key(alice).pk).update(**fields)
    if counts:
        assert "allows 1 key per user" in issue_error(alice)
    else:
        issue(alice)


def test_key_must_expire_within_max_key_days(policy, alice):
    policy(max_key_days=30)
    now = timezone.now()
    message = "Keys on the tier “free” must expire within 30 days."
    assert issue_error(alice) == message
    assert issue_error(alice, expires_at=now + 30 * DAY + timedelta(minutes=1)) == message
    issue(alice, expires_at=now + 30 * DAY)


def test_existing_keys_keep_working_and_can_be_rotated(policy, verify, alice, counters):
    keys = [make_key(alice), make_key(alice)]
    policy(max_keys=1, max_key_days=1)
    assert all(verify(key=key.secret, method="GET", path="/")["allowed"] for key in keys)
    secret = rotate_key(keys[0], Author(alice))
    assert verify(key=secret, method="GET", path="/")["allowed"]


def test_users_without_a_tier_have_no_key_policy(policy, alice):
    policy(max_keys=1, max_key_days=1)
    alice.tier = None
    alice.save()
    issue(alice)
    issue(alice)


def test_create_key_command_enforces_the_policy(policy, alice):
    policy(max_key_days=7, max_keys=1)
    with pytest.raises(CommandError, match="must expire within 7 days"):
        call_command("create_key", "alice", name="k")
    call_command("create_key", "alice", name="k", expires=7)
    with pytest.raises(CommandError, match="allows 1 key per user"):
        call_command("create_key", "alice", name="k", expires=7)
    assert APIKey.objects.count() == 1


def expiry_options(page):
    menu = re.search(r'<select name="expiry".*?</select>', page.text, re.DOTALL)[0]
    return re.findall(r'<option value="(\w+)"( selected)?>', menu)


@pytest.mark.parametrize(
    ("days", "choices", "chosen"),
    [
        (7, ["7", "custom"], "7"),
        (90, ["30", "90", "custom"], "90"),
        (180, ["30", "90", "180", "custom"], "90"),
        (None, ["30", "90", "365", "never", "custom"], "90"),
    ],
)
def test_form_offers_expiries_that_the_tier_allows(policy, owner, days, choices, chosen):
    policy(max_key_days=days)
    found = expiry_options(owner.get(NEW))
    assert [value for value, _ in found] == choices
    assert [value for value, selected in found if selected] == [chosen]
    assert owner.post(NEW, {"name": "k", "allow": "everything", "expiry": chosen}).status_code == 200
    assert APIKey.objects.get().expires_at - timezone.now() <= int(chosen) * DAY


def test_expiry_that_is_too_late_is_a_field_error(policy, owner):
    policy(max_key_days=7)
    late = f"{timezone.now() + 8 * DAY:%Y-%m-%d}"
    for data in ({"expiry": "custom", "expires_at": late}, {}):
        response = owner.post(NEW, {"name": "k", **data})
        assert response.status_code == 400
        assert response.context["form"].errors == {"expires_at": ["Keys on the tier “free” must expire within 7 days."]}
    assert owner.post(NEW, {"name": "k", "expiry": "never"}).context["form"].errors.keys() == {"expiry"}
    assert not APIKey.objects.exists()


def test_owner_policy_applies_to_keys_created_by_staff(policy, staff_client, alice):
    policy(max_keys=1)
    data = {"owner": "alice", "name": "k", "expiry": "never"}
    assert staff_client.post("/admin/apikeys/apikey/add/", data).status_code == 200
    response = staff_client.post("/admin/apikeys/apikey/add/", data)
    assert response.status_code == 400
    assert "allows 1 key per user" in response.text


@pytest.mark.parametrize("value", ["0", "-1", str(2**63), "100001", "x", "1.5"])
@pytest.mark.parametrize("field", ["max_keys", "max_key_days"])
def test_invalid_policy_value_is_a_field_error(staff_client, free, field, value):
    url = f"/admin/tiers/tier/{free.pk}/change/"
    response = staff_client.post(url, {"name": "free", "description": "", field: value})
    assert response.status_code == 200
    assert response.context["adminform"].form.errors.keys() == {field}
    free.refresh_from_db()
    assert (free.max_keys, free.max_key_days) == (None, None)


@pytest.mark.django_db(transaction=True)
def test_only_one_of_20_concurrent_forms_creates_the_last_key(free):
    Tier.objects.filter(pk=free.pk).update(max_keys=1)
    user = make_user("dora", tier=free)
    clients = [Client() for _ in range(20)]
    tokens = []
    for client in clients:
        client.force_login(user)
        tokens.append(re.search(r'name="form_token" value="([^"]+)"', client.get(NEW).text)[1])

    def create(number):
        response = clients[number].post(NEW, {"name": f"k{number}", "expiry": "90", "form_token": tokens[number]})
        return response.status_code, "allows 1 key per user" in response.text

    responses = in_parallel(20, create)
    assert sorted(responses) == [(200, False)] + [(400, True)] * 19
    assert APIKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_form_submitted_four_times_at_once_creates_one_key(free):
    Tier.objects.filter(pk=free.pk).update(max_keys=1)
    user = make_user("dora", tier=free)
    clients = [Client() for _ in range(4)]
    for client in clients:
        client.force_login(user)
    token = re.search(r'name="form_token" value="([^"]+)"', clients[0].get(NEW).text)[1]
    data = {"name": "k", "expiry": "90", "form_token": token}
    responses = in_parallel(4, lambda number: clients[number].post(NEW, data).status_code)
    assert sorted(responses) == [200, 409, 409, 409]
    assert APIKey.objects.count() == 1


# --- Restoring ---


def test_policy_applies_when_restoring_a_usable_key(policy, alice, staff_client):
    key, _ = make_key(alice, "old"), make_key(alice)
    key.delete()
    policy(max_keys=1)
    url = f"/admin/apikeys/apikey/{key.pk}/restore/"
    response = staff_client.post(url)
    assert "can&#x27;t be restored. The tier “free” allows 1 key per user." in response.text
    assert not APIKey.objects.live().filter(pk=key.pk).exists()
    policy(max_keys=2)
    assert staff_client.post(url).status_code == 302
    assert APIKey.objects.live().filter(pk=key.pk).exists()


def test_restored_key_must_expire_within_max_key_days(policy, alice):
    key = make_key(alice)
    key.delete()
    policy(max_key_days=30)
    with pytest.raises(ValidationError, match=r"can't be restored\. Keys on the tier “free” must expire"):
        restore_keys([key])
    APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() + 29 * DAY)
    key.refresh_from_db()
    restore_keys([key])
    assert key.deleted_at is None


@pytest.mark.parametrize("fields", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now()}])
def test_revoked_or_expired_key_can_always_be_restored(policy, alice, fields):
    make_key(alice)
    key = make_key(alice)
    APIKey.objects.filter(pk=key.pk).update(deleted_at=timezone.now(), **fields)
    policy(max_keys=1, max_key_days=1)
    restore_keys(APIKey.objects.filter(pk=key.pk))
    assert APIKey.objects.live().filter(pk=key.pk).exists()


def test_keys_are_restored_all_or_none(policy, alice):
    keys = [make_key(alice, f"k{number}") for number in range(3)]
    APIKey.objects.all().delete()
    policy(max_keys=2)
    with pytest.raises(ValidationError, match="can't be restored"):
        restore_keys(keys)
    assert not APIKey.objects.live().exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_restores_do_not_exceed_max_keys(free):
    Tier.objects.filter(pk=free.pk).update(max_keys=1)
    user, staff = make_user("dora", tier=free), make_user("sue", is_staff=True, is_superuser=True)
    keys = [make_key(user, f"k{number}") for number in range(20)]
    APIKey.objects.all().delete()
    clients = [Client() for _ in keys]
    for client in clients:
        client.force_login(staff)

    def restore(number):
        response = clients[number].post(f"/admin/apikeys/apikey/{keys[number].pk}/restore/")
        return response.status_code, "allows 1 key per user" in response.text

    responses = in_parallel(20, restore)
    assert sorted(done for _, done in responses) == [False] + [True] * 19
    assert APIKey.objects.live().count() == 1
