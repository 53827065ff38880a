"""On a phone, long values wrap, and all actions of a permission are in view."""

from __future__ import annotations

import pytest

from tests.chromium import is_wider_than_a_phone
from tests.conftest import make_user
from tests.rows import make_key, make_limit
from tiers.models import Tier

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_names_without_a_space_wrap(visit, sue):
    tier = Tier.objects.create(name="T" * 50)
    limit = make_limit(tier, "/" + "p" * 200, name="N" * 100, host=f"{'h' * 60}.example.com")
    user = make_user("u" * 32, tier=tier)
    page, wide = visit(sue), []
    for path in (
        f"/users/{user.pk}/", f"/users/{user.pk}/edit/", f"/users/{user.pk}/tier/",
        f"/admin/tiers/tier/{tier.pk}/change/", f"/admin/ratelimits/ratelimit/{limit.pk}/change/",
    ):  # fmt: skip
        page.goto(path)
        if is_wider_than_a_phone(page):
            wide.append(path)
    assert wide == []


def test_all_actions_of_a_permission_are_in_view_on_a_phone(visit, alice):
    key = make_key(alice, allow=("read /orders/*",))
    page = visit(alice, width=375)
    page.goto(f"/account/keys/{key.pk}/edit/")
    boxes = page.locator("tbody tr").first.locator("input")
    edges = [boxes.nth(number).bounding_box() for number in range(boxes.count())]
    assert len(edges) == 7
    assert max(edge["x"] + edge["width"] for edge in edges) < 375
    assert min(edge["x"] for edge in edges) > 0
