"""Natural keys in fixtures refer to the live row with a name, not to deleted ones."""

from __future__ import annotations

import pytest
from django.core import serializers

from accounts.models import User
from ratelimits.models import RateLimit
from tests.conftest import make_user
from tests.rows import make_limit
from tiers.models import Tier


def deleted_and_live(make):
    """A deleted and a live row with the same name."""
    make().delete()
    return make()


@pytest.mark.parametrize(
    "make",
    [
        lambda free: make_user("ada"),
        lambda free: Tier.objects.create(name="pro"),
        lambda free: make_limit(free, name="all orders"),
    ],
    ids=["user", "tier", "limit"],
)
def test_natural_keys_find_the_live_row(free, make):
    live = deleted_and_live(lambda: make(free))
    found = type(live).objects.get_by_natural_key(*live.natural_key())
    assert found == live
    live.delete()
    with pytest.raises(type(live).DoesNotExist):
        type(live).objects.get_by_natural_key(*live.natural_key())


def test_usernames_are_found_in_any_case(alice):
    assert User.objects.get_by_natural_key("ALICE") == alice


def test_fixtures_with_natural_keys_can_be_loaded(free):
    limit = make_limit(free, name="all orders")
    text = serializers.serialize("json", [limit], use_natural_foreign_keys=True, use_natural_primary_keys=True)
    assert '["free"]' in text
    limit.hard_delete()
    for row in serializers.deserialize("json", text):
        row.save()
    assert RateLimit.objects.get(name="all orders").tier == free
