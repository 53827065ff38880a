"""Long filters narrow as you type, in the admin's lists and in ours. Without JavaScript, they are menus and selects."""

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


def open_menu(page):
    page.goto(LIMITS)
    page.locator("details.filter > summary", has_text="Tier").click()
    return page.get_by_role("combobox", name="Filter Tier")


def test_a_menu_of_the_admin_narrows_and_is_used_by_keyboard(visit, many_tiers, sue):
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


def test_accents_and_case_do_not_matter_and_nothing_may_match(visit, many_tiers, sue):
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


def test_a_short_menu_has_no_field(visit, many_tiers, sue):
    page = visit(sue)
    page.goto(LIMITS)
    page.locator("details.filter > summary", has_text="Mode").click()
    assert page.locator("details.filter[open] input").count() == 0


@pytest.mark.parametrize("place", ["/users/", "/admin/usage/requests/"])
def test_a_long_select_becomes_a_field(visit, many_tiers, sue, place):
    page = visit(sue)
    page.goto(place)
    if "requests" in place:
        page.get_by_text("More filters").click()
    field = page.get_by_role("combobox", name="Tier", exact=True)
    assert field.input_value() == "Any"
    field.focus()
    field.press_sequentially("plan 7")
    page.keyboard.press("Enter")
    assert field.input_value() == "plan 7"
    assert page.locator(".type-ahead-list:visible").count() == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert field.input_value() == "plan 7"
    # What is no option doesn't stay.
    field.fill("plan 99")
    page.keyboard.press("Tab")
    assert field.input_value() == "plan 7"
    field.click()
    page.get_by_role("option", name="plan 8").click()
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(f"**tier={many_tiers['plan 8'].pk}*")
    assert page.locator(".filters .type-ahead:has(+ select[name=tier]) input").input_value() == "plan 8"


def test_without_javascript_they_are_menus_and_selects(visit, many_tiers, sue):
    page = visit(sue, javascript=False)
    page.goto(LIMITS)
    page.locator("details.filter > summary", has_text="Tier").click()
    page.get_by_role("link", name="plan 7").first.click()
    assert f"tier__id__exact={many_tiers['plan 7'].pk}" in page.url
    page.goto("/users/")
    page.locator("select[name=tier]").first.select_option(label="plan 7")
    page.get_by_role("button", name="Apply").click()
    assert f"tier={many_tiers['plan 7'].pk}" in page.url


def test_axe_finds_nothing(visit, many_tiers, sue):
    page = visit(sue)
    open_menu(page).fill("plan")
    faults = faults_of(page)
    page.goto("/users/")
    page.get_by_role("combobox", name="Tier", exact=True).click()
    assert faults + faults_of(page) == []
