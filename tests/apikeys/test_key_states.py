"""A key's state: one word for the row and its owner, the same in Python, in queries and in the decision."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from django.utils import timezone

from apikeys.decision.credentials import Credential
from apikeys.decision.decide import Facts, decide
from apikeys.models import APIKey, KeyState
from tests.rows import make_key

pytestmark = pytest.mark.django_db

FLAGS = ("revoked", "deleted", "expired", "disabled", "owner deleted", "owner suspended")
REASONS = {
    KeyState.REVOKED: {"revoked_key"},
    KeyState.DELETED: {"unknown_key"},
    # The decision checks "disabled" first; the state shows whether the key can ever work again.
    KeyState.EXPIRED: {"expired_key", "disabled_key"},
    KeyState.DISABLED: {"disabled_key"},
    KeyState.OWNER_DELETED: {"owner_inactive"},
    KeyState.OWNER_SUSPENDED: {"owner_inactive"},
    KeyState.ACTIVE: {""},
}


def key_with(owner, flags):
    revoked, deleted, expired, disabled, owner_deleted, owner_suspended = flags
    now = timezone.now()
    type(owner).objects.filter(pk=owner.pk).update(
        is_active=not owner_suspended, deleted_at=now if owner_deleted else None
    )
    key = make_key(
        owner,
        revoked_at=now if revoked else None,
        deleted_at=now if deleted else None,
        expires_at=now + timedelta(days=-1 if expired else 1),
        is_active=not disabled,
    )
    return APIKey.objects.get(pk=key.pk), key.secret


def test_model_querysets_and_decision_agree_on_every_state(alice):
    for flags in product((False, True), repeat=len(FLAGS)):
        key, secret = key_with(alice, flags)
        state, actions, same = key.state, key.actions, APIKey.objects.filter(pk=key.pk)
        names = [name for name, holds in zip(FLAGS, flags, strict=True) if holds]
        assert state == (names or ["active"])[0], names
        assert [state for state in KeyState if same.in_state(state).exists()] == [state], names
        assert same.effective().exists() == (state == "active"), names
        assert same.in_use().exists() == ("edit" in actions), names
        assert same.usable().exists() == ("disable" in actions), names
        assert same.unrevoked().exists() == ("revoke" in actions), names
        assert same.ended().exists() == (not key.deleted_at and actions <= {"revoke"}), names
        reasons = {"unknown_key"} if key.deleted_at else REASONS[state]
        assert decide(Facts(Credential(secret), "GET", "/x")).reason in reasons, names


def test_a_key_without_an_expiry_is_active(alice):
    make_key(alice, expires_at=None)
    assert APIKey.objects.effective().usable().in_use().exists()
