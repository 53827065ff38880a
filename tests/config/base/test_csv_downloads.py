"""Every CSV download opens correctly in Excel, and its formulas are quoted."""

from __future__ import annotations

import csv
import io

import pytest

from accounts.models import User
from apikeys.models import APIKey
from tests.accounts.people import make_event, signed_in
from tests.rows import make_key, make_limit
from tiers.models import Tier

pytestmark = pytest.mark.django_db

HOSTILE = "\u3000\ufeff=Zoë"
STAFF_FILES = (
    "/users/export.csv",
    "/admin/accounts/user/export/",
    "/admin/tiers/tier/export/",
    "/admin/ratelimits/ratelimit/export/",
    "/admin/apikeys/apikey/export/",
    "/admin/usage/requests/?format=csv",
    "/admin/admin/logentry/export/",
    "/admin/usage/?format=csv",
)


@pytest.fixture
def rows(alice, free):
    User.objects.filter(pk=alice.pk).update(name=HOSTILE)
    Tier.objects.filter(pk=free.pk).update(name=HOSTILE)
    make_limit(free, name=HOSTILE)
    key = make_key(alice, "a key")
    make_event(key, endpoint="/Zoë")
    APIKey.objects.filter(pk=key.pk).update(name=HOSTILE)


def assert_safe_in_a_spreadsheet(response):
    content = response.getvalue()
    assert content.startswith(b"\xef\xbb\xbf")
    text = content.decode("utf-8-sig")
    assert not text.startswith("\ufeff")
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not any(cell.strip("\u3000\ufeff ").startswith("=") for cell in cells)
    return cells


@pytest.mark.parametrize("address", STAFF_FILES)
def test_staff_downloads(client, sue, rows, address):
    cells = assert_safe_in_a_spreadsheet(signed_in(sue).get(address))
    assert any("Zoë" in cell for cell in cells) or "logentry" in address


def test_user_downloads(alice, rows):
    assert f"'{HOSTILE}" in assert_safe_in_a_spreadsheet(signed_in(alice).get("/account/usage/?format=csv"))


def test_downloads_of_selected_rows(staff_client, rows, alice):
    sent = {"action": "export_selected", "_selected_action": [alice.pk]}
    assert f"'{HOSTILE}" in assert_safe_in_a_spreadsheet(staff_client.post("/admin/accounts/user/", sent))
