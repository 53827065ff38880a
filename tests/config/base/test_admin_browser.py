"""The admin in Chromium: accessibility, filters, search, theme, and creating, editing, deleting and restoring rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import User
from apikeys.models import APIKey
from config.base.history import CHANGE, Author
from ratelimits.models import RateLimit
from tests.chromium import faults_of
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_usage
from tiers.models import Tier

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def site(transactional_db):
    """A superuser, and pages with more content than in tests/test_axe_everywhere.py."""
    free = Tier.objects.create(name="free", description="What everyone starts with, in a sentence that is rather long.")
    root = make_user("root", is_staff=True, is_superuser=True)
    alice = make_user("alice", tier=free)
    gone = make_user("gone")
    gone.delete()
    make_limit(free, name="orders")
    key = make_key(alice, "nightly export", expires_at=timezone.now() + timedelta(days=3))
    make_usage(key)
    make_usage(key, status_code=429, reason="rate_limited")
    Author(root, via="admin").record(alice, CHANGE, changes=[{"field": "name", "old": "Al", "new": "Alice"}])
    pages = [
        "/admin/",
        "/admin/search/?q=a",
        "/admin/accounts/user/?state=all&is_active__exact=1&q=a",
        f"/admin/accounts/user/{alice.pk}/change/",
        f"/admin/accounts/user/{gone.pk}/change/",
        f"/admin/accounts/user/{alice.pk}/history/",
        f"/admin/tiers/tier/{free.pk}/change/",
        "/admin/apikeys/apikey/",
        f"/admin/apikeys/apikey/{key.pk}/change/",
        "/admin/usage/requests/",
        "/admin/admin/logentry/",
    ]
    return root, pages


def test_axe_finds_no_violations(visit, site):
    root, paths = site
    page, faults = visit(root), []
    for path in paths:
        page.goto(path)
        faults += faults_of(page)
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize("width", [1280, 375])
def test_only_one_filter_menu_is_open_at_a_time(visit, site, width):
    root, _ = site
    with visit(root, width=width) as page:
        page.goto("/admin/apikeys/apikey/")
        page.locator(".filter-menus summary", has_text="Key state").click()
        expect(page.get_by_role("link", name="Revoked")).to_be_visible()
        page.locator(".filter-menus summary", has_text="Last used").click()
        expect(page.get_by_role("link", name="Revoked")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator(".filter[open]")).to_have_count(0)
        page.locator(".filter-menus summary", has_text="Key state").click()
        page.get_by_role("link", name="Revoked").click()
        page.get_by_role("link", name="Key state: Revoked Remove filter").click()
        expect(page.locator(".chips")).to_have_count(0)


def test_search_shortcut_theme_and_account_menu(visit, site):
    root, _ = site
    with visit(root) as page:
        page.goto("/admin/")
        page.keyboard.press("/")
        page.keyboard.type("ali/ce")
        expect(page.locator("#global-search")).to_have_value("ali/ce")
        page.locator("#global-search").fill("alice")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="alice", exact=True).click()
        page.wait_for_url("**/users/**")
        page.goto("/admin/")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        with page.expect_response("**/account/theme/"):
            page.locator(".theme-toggle").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
        with page.expect_response("**/account/theme/"):
            page.get_by_role("button", name="Theme: light. Change theme").click()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != background
        page.goto("/admin/tiers/tier/")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
        expect(page.get_by_role("button", name="Theme: dark. Change theme")).to_be_visible()
        page.locator(".topbar .menu > summary").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        page.locator(".topbar .menu > summary").click()
        page.locator("h1").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        assert page.errors == []


def test_the_table_header_is_sticky(visit, site):
    root, _ = site
    for number in range(60):
        Tier.objects.create(name=f"tier {number}")
    with visit(root) as page:
        page.goto("/admin/tiers/tier/")
        page.locator("#result_list tbody tr").last.scroll_into_view_if_needed()
        bar, head = (page.locator(place).first.bounding_box() for place in (".topbar", "#result_list thead th"))
        assert head["y"] == pytest.approx(bar["y"] + bar["height"], abs=2)


def test_the_admin_works_without_javascript(visit, site):
    root, _ = site
    with visit(root, javascript=False) as page:
        page.goto("/admin/tiers/tier/")
        page.get_by_role("link", name="Create tier").click()
        page.locator("#id_name").fill("created without JavaScript")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".messagelist .success")).to_be_visible()
        page.get_by_role("link", name="created without JavaScript").first.click()
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
    assert Tier.objects.deleted().get().name == "created without JavaScript"


def delete_and_restore(page, path, name):
    page.goto(path)
    page.locator("#result_list").get_by_role("link", name=name).first.click()
    page.get_by_role("link", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".messagelist")).to_contain_text(f"“{name}")
    page.locator(".filter-menus").get_by_text("State", exact=True).click()
    page.get_by_role("link", name="Deleted", exact=True).click()
    page.locator("#result_list").get_by_role("link", name=name).first.click()
    page.get_by_role("link", name="Restore").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.locator(".messagelist")).to_contain_text("restored.")


def choose_in_autocomplete(page, field, text):
    page.locator(f"#select2-id_{field}-container").click()
    page.locator(".select2-search__field").fill(text)
    page.locator(".select2-results__option", has_text=text).first.click()


def test_rows_can_be_created_edited_deleted_and_restored(visit, site):
    root, _ = site
    with visit(root) as page:
        page.goto("/admin/")
        page.locator(".sidebar").get_by_role("link", name="Tiers").click()
        page.get_by_role("link", name="Create tier").click()
        page.locator("#id_name").fill("pro")
        page.get_by_role("button", name="Save and continue editing").click()
        page.get_by_label("Description").fill("For teams")
        page.get_by_role("button", name="Save", exact=True).click()
        delete_and_restore(page, "/admin/tiers/tier/", "pro")

        page.locator(".sidebar").get_by_role("link", name="Rate limits").click()
        page.get_by_role("link", name="Create rate limit").click()
        choose_in_autocomplete(page, "tier", "pro")
        page.get_by_label("Path").fill("/v1/*")
        page.get_by_label("Limit", exact=True).fill("10")
        page.get_by_label("Name").fill("ten a minute")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_role("link", name="ten a minute").first.click()
        page.get_by_label("Limit", exact=True).fill("20")
        page.get_by_role("button", name="Save", exact=True).click()
        delete_and_restore(page, "/admin/ratelimits/ratelimit/", "ten a minute")

        page.goto("/admin/accounts/user/?o=")
        page.get_by_role("link", name="Create user").click()
        page.get_by_label("Name", exact=True).fill("Dora")
        page.get_by_label("Username").fill("dora")
        page.get_by_label("Email address").fill("dora@example.com")
        choose_in_autocomplete(page, "tier", "pro")
        page.get_by_role("button", name="Save and continue editing").click()
        page.get_by_label("Name", exact=True).fill("Dora Doe")
        page.get_by_role("button", name="Save", exact=True).click()
        for verb, state in (("delete", "?"), ("restore", "?state=deleted")):
            page.goto(f"/admin/accounts/user/{state}&o=")
            page.get_by_role("row", name="dora").get_by_role("checkbox").check()
            page.locator("select[name=action]").select_option(f"{verb}_selected")
            page.get_by_role("button", name="Continue").click()
            page.get_by_role("button", name=verb.capitalize()).click()
            expect(page.locator(".messagelist")).to_contain_text(f"1 user {verb}d.")
        delete_and_restore(page, "/admin/apikeys/apikey/", "nightly export")
        assert page.errors == []
    assert RateLimit.objects.live().get(name="ten a minute").limit == 20
    dora = User.objects.live().get(username="dora")
    assert (dora.name, dora.tier.name) == ("Dora Doe", "pro")
    assert APIKey.objects.live().get(name="nightly export")


def test_users_are_moved_when_their_tier_is_deleted(visit, site):
    root, _ = site
    pro = Tier.objects.create(name="pro")
    free = Tier.objects.get(name="free")
    # The default tier can't be deleted.
    User.objects.update(tier=pro)
    RateLimit.objects.update(tier=pro)
    with visit(root) as page:
        page.goto(f"/admin/tiers/tier/{pro.pk}/delete/")
        page.get_by_label("Move 2 users to").select_option("free")
        page.get_by_label("Delete 1 rate limit of this tier").check()
        page.get_by_role("button", name="Delete tier").click()
        expect(page.locator(".messagelist")).to_contain_text("Tier “pro” deleted.")
    assert {user.tier for user in User.objects.live()} == {free}


def test_selected_rows_are_deleted_after_confirming(visit, site):
    root, _ = site
    for number in range(3):
        Tier.objects.create(name=f"old {number}")
    with visit(root) as page:
        page.goto("/admin/tiers/tier/?q=old")
        page.get_by_label("Select all on this page").check()
        page.locator("select[name=action]").select_option("delete_selected")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("h1")).to_contain_text("Delete 3 tiers?")
        page.get_by_role("button", name="Delete").click()
        expect(page.locator(".messagelist")).to_contain_text("3 tiers deleted.")
        assert page.errors == []
    assert Tier.objects.deleted().count() == 3
