"""Models reject text that a database can't store, even without a form."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from accounts.models import User
from apikeys.models import APIKey
from ratelimits.models import RateLimit
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def user_with(**fields):
    return User(**{"username": "okay", "name": "Okay", "email": "okay@example.com", "password": "x", **fields})


def limit_with(free, **fields):
    return RateLimit(**{"tier": free, "path": "/a", "limit": 1, "period": 60, **fields})


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"], ids=ascii)
def test_nul_and_lone_surrogates_are_rejected(free, alice, bad):
    rows = {
        "name": [Tier(name=bad), user_with(name=bad), limit_with(free, name=bad), APIKey(user=alice, name=bad)],
        "description": [Tier(name="ok", description=bad)],
        "username": [user_with(username=bad)],
        "email": [user_with(email=f"{bad}@example.com"), user_with(email=f"a@{bad}.com")],
        "path": [limit_with(free, path=f"/{bad}")],
    }
    for field, instances in rows.items():
        for row in instances:
            with pytest.raises(ValidationError) as refused:
                row.full_clean()
            assert field in refused.value.message_dict
