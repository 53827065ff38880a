"""Keyboard navigation: Tab reaches everything, and the focus is always visible."""

from __future__ import annotations

import pytest

from tests.conftest import make_user
from tests.rows import make_key, make_limit
from tiers.models import Tier

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MAX_STOPS = 400
# The focused element: its name, whether its focus is visible, and whether something covers it completely.
FOCUSED = """() => {
  const focused = document.activeElement;
  if (!focused || focused === document.body) return null;
  const box = focused.getBoundingClientRect(), style = getComputedStyle(focused);
  const points = [[0.5, 0.5], [0.1, 0.2], [0.9, 0.8], [0.1, 0.8], [0.9, 0.2]];
  const onTop = points.map(([x, y]) => document.elementFromPoint(box.left + x * box.width, box.top + y * box.height));
  const seen = onTop.some((found) => found && (focused.contains(found) || (found.contains(focused) && found !== document.body)));
  return {
    name: `${focused.tagName} ${focused.id || focused.name || focused.textContent.trim().slice(0, 40)}`,
    shown: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none",
    covered: !seen && box.height < innerHeight / 2,
  };
}"""
PAGES = (
    "/admin/", "/users/", "/users/add/", "/users/{user}/", "/admin/tiers/tier/", "/admin/tiers/tier/{tier}/change/",
    "/admin/ratelimits/ratelimit/", "/admin/apikeys/apikey/", "/admin/apikeys/apikey/{key}/change/", "/account/",
    "/account/keys/new/",
)  # fmt: skip


@pytest.fixture
def root(transactional_db):
    return make_user("root", is_staff=True, is_superuser=True)


@pytest.fixture
def paths(transactional_db):
    tier = Tier.objects.create(name="busy")
    for number in range(30):
        make_limit(tier, f"/orders/{number}")
        key = make_key(make_user(f"person{number}", tier=tier), f"key {number}")
    return [path.format(user=key.user_id, tier=tier.pk, key=key.pk) for path in PAGES]


def faults_on(page, path, press="Tab"):
    page.goto(path)
    page.evaluate("document.activeElement.blur()")
    stops = []
    for _ in range(MAX_STOPS):
        page.keyboard.press(press)
        stop = page.evaluate(FOCUSED)
        if stop is None:
            break
        stops.append(stop)
    faults = [f"{path}: {stop['name']} ({reason})" for stop in stops for reason in problems(stop)]
    return (
        faults if 5 < len(stops) < MAX_STOPS else [*faults, f"{path}: a keyboard trap, or too few stops ({len(stops)})"]
    )


def problems(stop):
    return [reason for reason, applies in (("not shown", not stop["shown"]), ("covered", stop["covered"])) if applies]


@pytest.mark.parametrize("width", [1280, 375])
def test_tab_walks_through_each_page_in_sight(visit, root, paths, width):
    page = visit(root, width=width)
    assert [fault for path in paths for fault in faults_on(page, path)] == []


def test_the_first_stop_skips_to_the_content(visit, root, paths):
    page = visit(root)
    page.goto("/users/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Skip to main content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_closing_a_menu_returns_the_focus(visit, root, paths):
    page = visit(root)
    page.goto("/users/")
    menu = page.locator(".topbar details.menu > summary")
    menu.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('details.menu[open]') !== null")
    page.keyboard.press("Escape")
    assert page.locator("details.menu[open]").count() == 0
    assert menu.evaluate("summary => summary === document.activeElement")


def test_the_error_summary_leads_to_the_field_by_keyboard(visit, root, paths):
    page = visit(root)
    page.goto("/users/add/")
    page.locator("#id_name").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".error-summary")
    assert page.evaluate("document.activeElement.className") == "error-summary"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "id_name"
