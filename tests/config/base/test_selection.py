"""Selecting rows in lists: the bar that counts them, bulk actions and exports."""

from __future__ import annotations

import csv
import io
import json

import openpyxl
import pytest
from django.urls import reverse

from accounts.models import User
from apikeys.models import APIKey
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_staff
from tiers.models import Tier

USERS, TIERS = "/users/", "/admin/tiers/tier/"
KEYS, LIMITS = "/admin/apikeys/apikey/", "/admin/ratelimits/ratelimit/"
HYGIENE = "/admin/apikeys/hygiene/?show=no-expiry"
# For each list: the name of its rows, and an action.
LISTS = {
    USERS: ("users", "Suspend"),
    TIERS: ("tiers", "Delete"),
    LIMITS: ("rate limits", "Delete"),
    KEYS: ("API keys", "Disable"),
    HYGIENE: ("keys", "Disable"),
}


@pytest.fixture
def five_rows(db, sue):
    """Five rows in each list, and three rows per page."""
    User.objects.update(rows_per_page=3)
    for number in range(4):
        make_user(f"user{number}")
    for number in range(4):
        Tier.objects.create(name=f"tier {number}")
    for number in range(5):
        make_limit(Tier.objects.get(name="free"), f"/p{number}")
        make_key(sue, f"key {number}")


@pytest.mark.parametrize("place", LISTS)
def test_the_bar_offers_to_select_all_matching_rows(staff_client, five_rows, place):
    page = staff_client.get(place).content.decode()
    nouns, action = LISTS[place]
    assert f"Select all 5 matching {nouns}" in page
    assert page.count('class="row-select"') == 3
    assert f">{action}</option>" in page


def test_long_lists_offer_all_matching_rows_without_a_count(staff_client, five_rows, monkeypatch):
    monkeypatch.setattr("config.base.paginator.MAX_COUNTED", 2)
    assert "Select all matching tiers" in staff_client.get(TIERS).content.decode()


def test_all_matching_rows_can_be_chosen_without_selecting_one(staff_client, five_rows):
    sent = {"action": "delete_selected", "select_across": "1", "_selected_action": ""}
    page = staff_client.post(f"{TIERS}?q=tier", sent).content.decode()
    assert "Delete 4 tiers?" in page


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"action": "delete_selected"}, "Select tiers first."),
        ({"action": "", "select_across": "1"}, "Choose an action."),
        ({"export": "csv"}, "Select tiers first."),
        ({"action": "nonsense", "select_across": "1"}, "No action selected."),
    ],
)
def test_incomplete_forms_in_the_admin_get_a_message(staff_client, free, sent, message):
    page = staff_client.post(f"{TIERS}?q=free", sent | {"_selected_action": ""}, follow=True)
    assert [str(shown) for shown in page.context["messages"]] == [message]
    assert page.request["QUERY_STRING"] == "q=free"


def rows_in(response, file_format):
    content = response.getvalue()
    if file_format == "json":
        return [list(row.values()) for row in json.loads(content)]
    if file_format == "csv":
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))[1:]
    return [list(row) for row in openpyxl.load_workbook(io.BytesIO(content)).active.values][1:]


@pytest.mark.parametrize("file_format", ["csv", "xlsx", "json"])
def test_selected_rows_can_be_exported_in_every_format(staff_client, five_rows, file_format):
    user, key, tier = (
        User.objects.get(username="user1"),
        APIKey.objects.get(name="key 1"),
        Tier.objects.get(name="free"),
    )
    bulk = reverse("staff_keys:bulk")
    for url, sent, name in (
        (reverse("users:bulk"), {"pk": user.pk}, "user1"),
        (bulk, {"pk": key.pk}, "key 1"),
        (TIERS, {"_selected_action": ["", tier.pk]}, "free"),
    ):
        rows = rows_in(staff_client.post(url, sent | {"export": file_format, "action": ""}), file_format)
        assert len(rows) == 1
        assert name in rows[0]


def test_all_matching_rows_can_be_exported(staff_client, five_rows):
    sent = {"export": "json"}
    users = staff_client.post(f"{reverse('users:bulk')}?q=user", sent | {"everything": "1"})
    assert len(rows_in(users, "json")) == 4
    keys = staff_client.post(reverse("staff_keys:bulk"), sent | {"everything": "no-expiry"})
    assert len(rows_in(keys, "json")) == 5
    tiers = staff_client.post(f"{TIERS}?q=tier", sent | {"select_across": "1", "_selected_action": ""})
    assert len(rows_in(tiers, "json")) == 4


@pytest.mark.parametrize("url", ["users:bulk", "staff_keys:bulk"])
def test_unknown_formats_are_rejected(staff_client, alice, url):
    page = staff_client.post(reverse(url), {"export": "pdf", "everything": "1"}, follow=True)
    assert "Select a valid choice" in str(next(iter(page.context["messages"])))


def test_exporting_selected_rows_requires_only_view_permission(client, five_rows):
    client.force_login(make_staff("vera", "tiers.view_tier"))
    page = client.get(TIERS).content.decode()
    assert "With selected" not in page
    assert 'name="export" value="xlsx"' in page
    tier = Tier.objects.get(name="tier 1")
    rows = rows_in(client.post(TIERS, {"export": "csv", "_selected_action": tier.pk}), "csv")
    assert len(rows) == 1
    assert client.post(reverse("users:bulk"), {"export": "csv", "pk": "1"}).status_code == 403


@pytest.mark.browser
@pytest.mark.parametrize("place", LISTS)
def test_the_bar_appears_with_the_first_selected_row(visit, five_rows, sue, place):
    nouns, action = LISTS[place]
    page = visit(sue)
    page.goto(place)
    bar, rows = page.locator(".selection-bar"), page.locator(".row-select")
    assert bar.is_hidden()
    rows.first.focus()
    page.keyboard.press("Space")
    assert bar.is_visible()
    assert bar.locator(".selection-count").inner_text() == "1 selected"
    assert page.get_by_label("Select all on this page").evaluate("box => box.indeterminate")
    rows.nth(2).click(modifiers=["Shift"])
    assert bar.get_by_role("status").inner_text() == "3 selected"
    assert page.get_by_label("Select all on this page").is_checked()

    everything = page.get_by_label(f"Select all 5 matching {nouns}")
    everything.check()
    assert bar.locator(".selection-count").inner_text() == "All selected"
    rows.nth(1).uncheck()
    assert not everything.is_checked()
    assert bar.locator(".selection-count").inner_text() == "2 selected"
    bar.get_by_role("button", name="Clear selection").click()
    assert bar.is_hidden()
    assert page.locator(":focus").get_attribute("class") == "select-page"

    page.keyboard.press("Space")
    everything.check()
    everything.uncheck()
    assert bar.locator(".selection-count").inner_text() == "3 selected"
    everything.check()
    page.get_by_label("With selected").select_option(action)
    page.get_by_role("button", name="Continue").click()
    assert page.locator("h1").inner_text().startswith(action)


@pytest.mark.browser
def test_the_bar_stays_visible(visit, five_rows, sue):
    for number in range(40):
        Tier.objects.create(name=f"more {number}")
    User.objects.update(rows_per_page=50)
    page = visit(sue, width=375)
    page.goto(TIERS)
    page.locator(".row-select").first.check()
    assert page.evaluate("document.querySelector('.selection-bar').getBoundingClientRect().bottom <= innerHeight")
    # All rows are on this page.
    assert page.get_by_text("Select all 45 matching tiers").is_hidden()


@pytest.mark.browser
@pytest.mark.parametrize("place", LISTS)
def test_the_bar_works_without_javascript(visit, five_rows, sue, place):
    nouns, action = LISTS[place]
    page = visit(sue, javascript=False)
    page.goto(place)
    page.get_by_label(f"Select all 5 matching {nouns}").check()
    page.get_by_label("With selected").select_option(action)
    page.get_by_role("button", name="Continue").click()
    assert page.locator("h1").inner_text().startswith(action)


@pytest.mark.browser
@pytest.mark.parametrize("place", [USERS, TIERS])
def test_selected_rows_can_be_downloaded(visit, five_rows, sue, place):
    page = visit(sue)
    page.goto(place)
    page.locator(".row-select").first.check()
    page.locator(".selection-bar summary").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert len(json.loads(download.value.path().read_text())) == 1
