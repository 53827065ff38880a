"""Search, filters and chips are the same above every list: in the admin, outside it, and on usage pages."""

from __future__ import annotations

import re

import pytest

from tests.chromium import faults_of, is_wider_than_a_phone
from tests.rows import make_key

LISTS = (
    "/users/", "/admin/usage/requests/", "/admin/usage/", "/admin/apikeys/apikey/", "/admin/tiers/tier/",
    "/admin/ratelimits/ratelimit/", "/admin/admin/logentry/", "/account/keys/", "/account/usage/requests/",
    "/account/usage/", "/admin/apikeys/hygiene/",
)  # fmt: skip
MENU = re.compile(
    r'<details name="filter"( open)?\s+class="menu filter ([\w-]*)">\s*<summary>\s*([\w ]+?)\s*(?:<|$)', re.MULTILINE
)


def menus(page):
    """The filter menus, each with whether it's open and what's marked."""
    return {label: (bool(is_open), mark) for is_open, mark, label in MENU.findall(page.content.decode())}


@pytest.mark.parametrize("path", LISTS)
def test_every_list_has_the_same_filter_bar(staff_client, path):
    page = staff_client.get(path).content.decode()
    [bar] = re.findall(r'<form [^>]*class="filter-bar"[^>]*>', page)
    # Browsers can't show an error in a closed menu.
    assert "novalidate" in bar
    assert "js/lists.js" in page


def test_a_menu_with_an_error_is_open_and_keeps_its_values(staff_client):
    query = {"user": "nobody", "status": "9", "method": "GET", "verdict": "denied", "path": "/orders"}
    page = staff_client.get("/admin/usage/requests/", query)
    assert menus(page) == {
        "Time": (False, ""),
        "Verdict": (False, "filter-active"),
        "User": (True, "filter-invalid"),
        "API key": (False, ""),
        "Tier": (False, ""),
        "Rate limit": (False, ""),
        "Request": (False, "filter-active"),
        "Result": (False, "filter-invalid"),
    }
    html = page.content.decode()
    # Other values are kept by their fields, or by a hidden field for the menu without one.
    for name, value in query.items():
        assert re.search(rf'<input type="(text|search|hidden)" name="{name}" value="{value}"', html), name
    for chip in ("User: <strong>nobody", "Status: <strong>9", "Verdict: <strong>Denied, for any reason"):
        assert chip in html


def test_an_invalid_choice_is_an_error_in_its_menu(staff_client):
    page = staff_client.get("/users/", {"state": "odd", "q": "sue"})
    assert menus(page)["State"] == (True, "filter-invalid")
    assert "Select a valid choice. odd is not one of the available choices." in page.content.decode()
    assert 'href="?q=sue"' in page.content.decode()  # without the invalid choice


def test_a_long_search_is_a_field_error(staff_client):
    page = staff_client.get("/users/", {"q": "x" * 201})
    assert "Use at most 200 characters" in page.content.decode()
    assert "x" * 201 in page.content.decode()


def test_each_of_several_keys_has_a_chip(staff_client, alice):
    first, second = make_key(alice, "first"), make_key(alice, "second")
    page = staff_client.get(f"/admin/usage/?key={first.pk}&key={second.pk}&endpoint=/a")
    assert {chip.value: chip.query for chip in page.context["form"].bar.chips} == {
        "first": f"endpoint=%2Fa&key={second.pk}",
        "second": f"endpoint=%2Fa&key={first.pk}",
        "/a": f"key={first.pk}&key={second.pk}",
    }
    wrong = staff_client.get("/admin/usage/?key=x&endpoint=/a")
    assert [chip.value for chip in wrong.context["form"].bar.chips] == ["x", "/a"]


def test_searching_the_hygiene_page_limits_actions_on_all_keys(staff_client, alice):
    for name in ("web shop", "nightly export"):
        make_key(alice, name)
    page = staff_client.get("/admin/apikeys/hygiene/?show=never-used&q=nightly")
    html = page.content.decode()
    assert [row.key.name for row, _ in page.context["rows"]] == ["nightly export"]
    action = re.search(r'action="([^"]*/bulk/[^"]*)"', html)[1]
    answer = staff_client.post(action, {"action": "disable", "everything": "never-used"})
    assert "nightly export" in answer.content.decode()
    assert "web shop" not in answer.content.decode()
    nothing = staff_client.get("/admin/apikeys/hygiene/?show=never-used&q=nothing").content.decode()
    assert "No results." in nothing


@pytest.mark.browser
def test_filters_work_without_javascript_and_are_submitted_together(visit, sue):
    page = visit(sue, javascript=False, width=375)
    page.goto("/admin/usage/requests/?verdict=denied")
    page.get_by_placeholder("Search by path").fill("/orders")
    page.locator("details.filter > summary", has_text="Request").click()
    page.get_by_label("Method").fill("GET")
    page.locator("details.filter > summary", has_text="User").click()
    page.get_by_label("User", exact=True).fill("sue")
    page.get_by_role("button", name="Apply").click()
    for part in ("verdict=denied", "path=%2Forders", "method=GET", "user=sue"):
        assert part in page.url
    assert page.locator(".chip").count() == 5  # including Clear all
    assert not is_wider_than_a_phone(page)


@pytest.mark.browser
def test_opening_a_menu_focuses_its_field(visit, sue):
    page = visit(sue)
    page.goto("/admin/usage/requests/?user=nobody")
    page.wait_for_selector("input[name=user]:focus")
    assert faults_of(page) == []
    page.keyboard.press("Escape")
    assert page.locator(":focus").inner_text().startswith("User")
    page.keyboard.press("Enter")
    page.wait_for_selector("input[name=user]:focus")
