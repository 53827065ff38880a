"""/users/<pk>/tier/: the page shows each tier's rate limits before a user is moved."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ratelimits.models import RateLimit
from tests.pages import text_of
from tests.rows import make_limit
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def test_the_page_shows_each_tiers_limits_and_then_the_users(staff_client, alice, free, pro):
    make_limit(free, "/orders/*", limit=5)
    make_limit(pro, "/orders/*", limit=500, method="GET")
    make_limit(pro, "/gone").delete()
    url = f"/users/{alice.pk}/tier/"
    page = text_of(staff_client.get(url))
    assert "/orders/*, 5 per minute; everything else" in page
    assert "GET /orders/*, 500 per minute; everything else" in page
    assert "/gone" not in page
    assert page.count(">Now<") + page.count(">now<") == 1
    response = staff_client.post(url, {"tier": pro.pk})
    assert response["Location"] == f"/users/{alice.pk}/#effective-limits"
    page = text_of(staff_client.get(f"/users/{alice.pk}/"))
    assert 'id="effective-limits"' in page
    assert "500 per minute" in page


def test_the_default_limit_is_left_out_if_it_never_applies(staff_client, alice, free):
    make_limit(free, "/*", limit=7, name="all")
    page = text_of(staff_client.get(f"/users/{alice.pk}/tier/"))
    assert "<dd>/*, 7 per minute</dd>" in page
    RateLimit.objects.update(method="GET")
    assert "GET /*, 7 per minute; everything else" in text_of(staff_client.get(f"/users/{alice.pk}/tier/"))


def test_long_lists_of_limits_are_truncated(staff_client, alice, free):
    for number in range(12):
        make_limit(free, f"/path{number:02}")
    page = text_of(staff_client.get(f"/users/{alice.pk}/tier/"))
    assert "/path09" in page
    assert "/path10" not in page
    assert "2 more; everything else" in page


def test_the_bulk_confirmation_shows_the_new_limits(staff_client, alice, pro):
    make_limit(pro, "/orders/*", limit=500)
    data = {"action": "tier", "tier": pro.pk, "pk": [alice.pk]}
    assert "Their rate limits will be: /orders/*, 500 per minute; everything" in text_of(
        staff_client.post("/users/bulk/", data)
    )
    assert "Their rate limits will be: everything, " in text_of(staff_client.post("/users/bulk/", data | {"tier": ""}))


def test_the_number_of_queries_does_not_depend_on_the_number_of_tiers(staff_client, alice):
    counts = []
    for number in range(4):
        make_limit(Tier.objects.create(name=f"tier {number}"), f"/path{number}")
        with CaptureQueriesContext(connection) as queries:
            staff_client.get(f"/users/{alice.pk}/tier/")
        counts.append(len(queries))
    assert counts[1] == counts[3]
