"""Natural keys in fixtures refer to the live row with a name, not to deleted ones."""

from __future__ import annotations

import pytest
from django.core import serializers

from accounts.models import User
from ratelimits.models import RateLimit
from tests.conftest import make_user
from tests.rows import make_limit
from tiers.models import Tier


def twice(make):
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
    ids=["account", "tier", "limit"],
)
def test_a_natural_key_finds_the_live_row_of_that_name(free, make):
    live = twice(lambda: make(free))
    found = type(live).objects.get_by_natural_key(*live.natural_key())
    assert found == live
    live.delete()
    with pytest.raises(type(live).DoesNotExist):
        type(live).objects.get_by_natural_key(*live.natural_key())


def test_an_account_is_found_in_any_letter_case(alice):
    assert User.objects.get_by_natural_key("ALICE") == alice


def test_a_fixture_by_natural_keys_finds_its_tier_again(free):
    limit = make_limit(free, name="all orders")
    text = serializers.serialize("json", [limit], use_natural_foreign_keys=True, use_natural_primary_keys=True)
    assert '["free"]' in text
    limit.hard_delete()
    for row in serializers.deserialize("json", text):
        row.save()
    assert RateLimit.objects.get(name="all orders").tier == free
