"""A key's pages show exactly the buttons that work, in every state of the key and its owner."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import product

import pytest
from django.test import Client
from django.utils import timezone

from apikeys.models import APIKey
from tests.rows import make_key, make_staff

pytestmark = pytest.mark.django_db

STAFF, OWN = "/admin/apikeys/apikey", "/account/keys"
ACTIONS = ("edit", "rotate", "expire", "disable", "enable", "revoke")
SENT = {
    "edit": {"name": "renamed"},
    "rotate": {"grace": "0"},
    "expire": {"expires_at": f"{timezone.now() + timedelta(days=2):%Y-%m-%d}"},
    "disable": {},
    "enable": {},
    "revoke": {"reason": "why not"},
}
# Submitting these twice changes nothing the second time.
IDEMPOTENT = {"enable", "disable"}
STATES = list(product((False, True), repeat=4))
IDS = [
    " ".join(
        word for word, holds in zip(("disabled", "expired", "revoked", "deleted"), state, strict=True) if holds
    ) or "active"
    for state in STATES
]  # fmt: skip
OWNERS = {"active": {}, "suspended": {"is_active": False}, "deleted": {"deleted_at": timezone.now()}}


def key_in(state, owner, days=30):
    disabled, expired, revoked, deleted = state
    now = timezone.now()
    return make_key(
        owner,
        is_active=not disabled,
        expires_at=now + timedelta(days=-1 if expired else days),
        revoked_at=now if revoked else None,
        revoked_reason="leaked" if revoked else "",
        deleted_at=now if deleted else None,
    )


def offered_actions(html, base, key):
    found = re.findall(rf'href="{base}/{key.pk}/([a-z]+)/"', html)
    return set(found) & set(ACTIONS)


def stored(key):
    return APIKey.objects.filter(pk=key.pk).values(
        "name", "secret_hash", "expires_at", "is_active", "revoked_at", "deleted_at"
    )[0]


def changes_key(client, url, action, key):
    """Whether a POST to the action's page changes the key. If not, it must be rejected."""
    before = stored(key)
    response = client.post(url, SENT[action])
    assert response.status_code in {200, 302, 400, 404}
    changed = stored(key) != before
    assert changed or response.status_code in {400, 404} or action in IDEMPOTENT
    return changed


@pytest.mark.parametrize("state", STATES, ids=IDS)
@pytest.mark.parametrize("owner", OWNERS)
def test_staff_are_offered_the_actions_that_work(staff_client, alice, state, owner):
    type(alice).objects.filter(pk=alice.pk).update(**OWNERS[owner])
    key = key_in(state, alice)
    html = staff_client.get(f"{STAFF}/{key.pk}/change/").content.decode()
    shown = offered_actions(html, STAFF, key)
    assert (">Save key</button>" in html) == ("edit" in key.actions)
    for action in set(ACTIONS) - {"edit"}:
        key = key_in(state, alice)
        assert (action in shown) == changes_key(staff_client, f"{STAFF}/{key.pk}/{action}/", action, key), action


@pytest.mark.parametrize("state", STATES, ids=IDS)
def test_owners_are_offered_the_actions_that_work(client, alice, state):
    client.force_login(alice)
    key = key_in(state, alice)
    shown = offered_actions(client.get(f"{OWN}/{key.pk}/").content.decode(), OWN, key)
    for action in ACTIONS:
        key = key_in(state, alice)
        assert (action in shown) == changes_key(client, f"{OWN}/{key.pk}/{action}/", action, key), action


def test_disabled_and_expired_key_can_only_be_revoked(client, alice):
    client.force_login(alice)
    key = key_in((True, True, False, False), alice)
    html = client.get(f"{OWN}/{key.pk}/").content.decode()
    assert offered_actions(html, OWN, key) == {"revoke"}
    assert ">disabled</span>" in html
    assert ">expired</span>" in html


@pytest.mark.parametrize("action", ["edit", "rotate", "expire", "disable", "enable"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"is_active": False, "expires_at": timezone.now() - timedelta(days=1)}, "This key has expired."),
        ({"expires_at": timezone.now() - timedelta(days=1)}, "This key has expired."),
        ({"is_active": False, "revoked_at": timezone.now()}, "This key is revoked permanently."),
    ],
)
def test_page_of_an_unavailable_action_redirects_with_a_message(client, alice, action, fields, message):
    client.force_login(alice)
    key = make_key(alice, **fields)
    response = client.get(f"{OWN}/{key.pk}/{action}/", follow=True)
    assert response.redirect_chain == [(f"{OWN}/{key.pk}/", 302)]
    assert message in response.content.decode()
    if action not in IDEMPOTENT | {"expire"}:
        assert message in client.post(f"{OWN}/{key.pk}/{action}/", SENT[action]).content.decode()


def test_staff_who_can_only_stop_keys_are_offered_only_that(alice):
    client = Client()
    client.force_login(make_staff("stan", "apikeys.view_apikey", "apikeys.stop_apikey"))
    key = make_key(alice)
    html = client.get(f"{STAFF}/{key.pk}/change/").content.decode()
    assert offered_actions(html, STAFF, key) == {"disable", "revoke"}
    assert ">Save key</button>" not in html


def test_enable_page_mentions_a_suspended_owner(staff_client, alice):
    key = make_key(alice, is_active=False)
    url = f"{STAFF}/{key.pk}/enable/"
    assert "It works again immediately" in staff_client.get(url).content.decode()
    alice.suspend()
    assert "Requests are still denied while its owner is suspended." in staff_client.get(url).content.decode()


@pytest.mark.parametrize("action", ["disable", "revoke", "expire", "trim"])
def test_bulk_action_counts_only_the_keys_it_changes(staff_client, alice, action):
    good = make_key(alice, "good one")
    ended = [key_in((True, True, True, False), alice), key_in((False, False, True, False), alice)]
    keys = [key.pk for key in (good, *ended)]
    html = staff_client.post(f"{STAFF}/bulk/", {"action": action, "pk": keys}).content.decode()
    assert re.search(r"<h1>[^<]*\b1 API key\b", html)
    assert "Skipped: 2 API keys that this doesn't apply to." in html
    html = staff_client.post(f"{STAFF}/bulk/", {"action": action, "pk": ended[0].pk}).content.decode()
    assert "There is nothing to change." in html


def test_resubmitted_form_offers_rotation_only_if_possible(client, alice):
    client.force_login(alice)
    page = client.get(f"{OWN}/new/")
    sent = {
        "name": "once",
        "allow": "everything",
        "expiry": "never",
        "form_token": page.context["form"]["form_token"].value(),
    }
    assert client.post(f"{OWN}/new/", sent).status_code == 200
    assert "Rotate key" in client.post(f"{OWN}/new/", sent).content.decode()
    APIKey.objects.update(revoked_at=timezone.now())
    assert "Rotate key" not in client.post(f"{OWN}/new/", sent).content.decode()
