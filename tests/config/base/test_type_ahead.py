"""Long filter menus can be searched by typing. Without JavaScript, they are menus of links."""

from __future__ import annotations

import pytest

from tests.chromium import faults_of
from tests.rows import make_limit
from tiers.models import Tier

pytestmark = pytest.mark.browser

LIMITS = "/admin/ratelimits/ratelimit/"


@pytest.fixture
def many_tiers(db):
    tiers = [Tier.objects.create(name=f"plan {number}") for number in range(12)]
    tiers.append(Tier.objects.create(name="Größe élan"))
    for tier in tiers:
        make_limit(tier, f"/only/{tier.pk}")
    return {tier.name: tier for tier in tiers}


def open_menu(page, place=LIMITS):
    page.goto(place)
    page.locator("details.filter > summary", has_text="Tier").click()
    return page.get_by_role("combobox", name="Filter Tier")


def test_an_admin_filter_can_be_searched_and_used_by_keyboard(visit, many_tiers, sue):
    page = visit(sue)
    field = open_menu(page)
    assert field.evaluate("field => field === document.activeElement")
    field.fill("plan 1")
    shown = page.locator("details.filter[open] [role=option]:visible")
    assert shown.all_inner_texts() == ["plan 1", "plan 10", "plan 11"]
    for key, name in (("ArrowDown", "plan 10"), ("ArrowUp", "plan 1"), ("ArrowUp", "plan 11")):
        page.keyboard.press(key)
        assert page.locator("[aria-selected=true]").inner_text() == name
    assert field.get_attribute("aria-activedescendant") == page.locator("[aria-selected=true]").get_attribute("id")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**tier__id__exact={many_tiers['plan 11'].pk}*")
    assert page.locator(".chip").first.inner_text().startswith("Tier: plan 11")


def test_accents_and_case_are_ignored_and_no_match_selects_nothing(visit, many_tiers, sue):
    page = visit(sue)
    field = open_menu(page)
    field.fill("ELAN gro")
    shown = page.locator("details.filter[open] [role=option]:visible")
    assert shown.all_inner_texts() == ["Größe élan"]
    field.fill("nothing")
    assert shown.count() == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "tier__id__exact" not in page.url
    page.keyboard.press("Escape")
    assert field.is_hidden()
    assert page.locator(":focus").inner_text() == "Tier"


def test_short_menus_have_no_search_field(visit, many_tiers, sue):
    page = visit(sue)
    page.goto(LIMITS)
    page.locator("details.filter > summary", has_text="Mode").click()
    assert page.locator("details.filter[open] input").count() == 0


@pytest.mark.parametrize("place", ["/users/", "/admin/usage/requests/", "/admin/usage/"])
def test_lists_outside_the_admin_have_the_same_menus(visit, many_tiers, sue, place):
    page = visit(sue)
    open_menu(page, place).fill("plan 8")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**tier={many_tiers['plan 8'].pk}*")
    assert page.locator(".chip").first.inner_text().startswith("Tier: plan 8")


def test_a_long_select_becomes_a_combobox(visit, many_tiers, sue):
    page = visit(sue)
    page.goto("/users/")
    page.get_by_role("checkbox", name="Select sue").check()
    page.get_by_label("With selected").select_option("tier")
    field = page.get_by_role("combobox", name="New tier")
    assert field.input_value() == "No tier"
    field.focus()
    field.press_sequentially("plan 7")
    page.keyboard.press("Enter")
    assert field.input_value() == "plan 7"
    assert page.locator(".type-ahead-list:visible").count() == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert field.input_value() == "plan 7"
    # Text that isn't an option is discarded.
    field.fill("plan 99")
    page.keyboard.press("Tab")
    assert field.input_value() == "plan 7"
    field.click()
    page.get_by_role("option", name="plan 8").click()
    assert page.locator("select[name=tier]").input_value() == str(many_tiers["plan 8"].pk)


@pytest.mark.parametrize(("place", "name"), [(LIMITS, "tier__id__exact"), ("/users/", "tier")])
def test_menus_are_links_without_javascript(visit, many_tiers, sue, place, name):
    page = visit(sue, javascript=False)
    page.goto(place)
    page.locator("details.filter > summary", has_text="Tier").click()
    page.locator("details.filter").get_by_role("link", name="plan 7").click()
    assert f"{name}={many_tiers['plan 7'].pk}" in page.url


def test_axe_finds_no_violations(visit, many_tiers, sue):
    page = visit(sue)
    open_menu(page).fill("plan")
    faults = faults_of(page)
    page.goto("/users/")
    page.get_by_role("checkbox", name="Select sue").check()
    page.get_by_label("With selected").select_option("tier")
    page.get_by_role("combobox", name="New tier").click()
    assert faults + faults_of(page) == []
