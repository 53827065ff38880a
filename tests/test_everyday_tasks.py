"""The daily work of staff in real Chromium, starting on the overview: each task takes a bounded number of clicks.

Choosing an option counts as a click; typing doesn't.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import User
from ratelimits.limiter import limiter
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_usage
from tiers.models import Tier

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


class Hand:
    """Uses one page and counts clicks and keys."""

    def __init__(self, page):
        self.page, self.clicks, self.keys = page, 0, 0
        page.goto("/admin/")

    def click(self, role, name, **options):
        self.page.get_by_role(role, name=name, **options).first.click()
        self.clicks += 1

    def select(self, label, option):
        self.page.get_by_label(label, exact=True).select_option(label=option)
        self.clicks += 1

    def fill(self, label, text):
        """Click a field, and type into it."""
        self.page.get_by_label(label, exact=True).fill(text)
        self.clicks += 1

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
            self.keys += 1

    def type_into(self, label, text):
        """Replace what a field holds that the page has put the focus in."""
        expect(self.page.get_by_label(label, exact=True)).to_be_focused()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def search(self, text):
        self.click("combobox", "Search")
        self.page.keyboard.type(text)

    def sees(self, *texts):
        for text in texts:
            expect(self.page.locator("main")).to_contain_text(text, use_inner_text=True)
        return True


@pytest.fixture
def free(transactional_db):
    return Tier.objects.create(name="free")


@pytest.fixture
def olu(free):
    return make_user("olu", tier=free)


@pytest.fixture
def hand(visit, free):
    return Hand(visit(make_user("root", is_staff=True, is_superuser=True)))


def test_why_a_request_was_denied_takes_three_clicks(hand, olu):
    limit = make_limit(olu.tier, "/search", limit=5, period=10)
    yesterday = timezone.now() - timedelta(hours=20)
    key = make_key(olu)
    make_usage(key, endpoint="/search", status_code=429, reason="rate_limited", rate_limit=limit, created_at=yesterday)
    hand.search("olu")
    hand.click("option", "olu")
    hand.click("link", "20 hours ago")
    assert hand.sees("Rate limited", "5 per 10 seconds")
    assert hand.clicks <= 3


def test_who_is_near_a_quota_takes_one_click(hand, olu):
    limit = make_limit(olu.tier, "/*", limit=10, period=86_400, window="fixed")
    make_usage(make_key(olu))
    for _ in range(9):
        limiter().hit([limit.budget(f"user:{olu.pk}", olu.billing_day)])
    hand.page.reload()
    hand.click("link", "1 user used 80% or more of a quota")
    assert hand.sees("olu", "90%")
    assert hand.clicks <= 1


def test_raising_a_limit_for_one_user_takes_four_clicks(hand, olu):
    make_limit(olu.tier, "/search", limit=5, period=10, name="searches")
    hand.search("olu")
    hand.click("option", "olu")
    hand.click("link", "Change for this user")
    hand.type_into("Limit", "50")
    hand.click("button", "Add rate limit")
    assert hand.sees("Own", "50 per 10 seconds")
    assert hand.clicks <= 4


def test_a_leaked_key_is_revoked_with_three_clicks(hand, olu):
    key = make_key(olu, "nightly export")
    hand.search(f"revoke {key.last4}")
    hand.click("option", "Revoke")
    hand.type_into("Reason", "published on a forum")
    hand.click("button", "Revoke")
    hand.page.wait_for_url("**/change/")
    key.refresh_from_db()
    assert key.revoked_at
    assert hand.clicks <= 3


def test_importing_200_users_of_whom_three_are_wrong_takes_five_clicks(hand, tmp_path):
    lines = [f"user_{number},user_{number}@example.com" for number in range(197)]
    wrong = ["Not A Name,one@example.com", "two,no address", "three,"]
    file = tmp_path / "users.csv"
    file.write_text("\n".join(["username,email", *lines, *wrong]))
    hand.search("import users")
    hand.click("option", "Import users")
    hand.page.get_by_label("CSV or XLSX file").set_input_files(file)
    hand.clicks += 1
    hand.click("button", "Preview import")
    hand.page.get_by_role("heading", name="Errors").wait_for()
    assert hand.sees("3 rows can't be imported", "Enter a valid email address.")
    hand.click("button", "Skip 3 rows and import 197 users")
    hand.page.wait_for_url("**/users/")
    assert User.objects.filter(username__startswith="user_").count() == 197
    assert hand.clicks <= 5


def test_moving_a_user_up_shows_the_new_limits_after_four_clicks(hand, olu):
    pro = Tier.objects.create(name="pro")
    make_limit(pro, "/search", limit=500, period=60)
    hand.search("change olu")
    hand.click("option", "Change the tier of")
    hand.select("New tier", "pro")
    hand.click("button", "Change tier")
    assert hand.sees("500 per minute")
    assert hand.clicks <= 4


def test_a_user_is_found_and_suspended_by_keyboard_only(hand, olu):
    hand.press("/")
    hand.page.keyboard.type("suspend olu")
    hand.page.get_by_role("option", name="Suspend “olu”").wait_for()
    hand.press("ArrowDown", "Enter")
    hand.page.wait_for_url("**/suspend/")
    while hand.page.evaluate("document.activeElement.textContent.trim()") != "Suspend user":
        hand.press("Tab")
    hand.press("Enter")
    hand.page.wait_for_url(f"**/users/{olu.pk}/")
    olu.refresh_from_db()
    assert not olu.is_active
    assert hand.keys <= 12


def test_a_deletion_is_undone_with_one_click_and_later_with_three(hand, olu):
    hand.page.goto(f"/users/{olu.pk}/delete/")
    hand.page.get_by_role("button", name="Delete user").click()
    hand.click("button", "Undo")
    hand.page.get_by_text("restored").first.wait_for()
    olu.refresh_from_db()
    assert not olu.is_deleted
    assert hand.clicks <= 1

    olu.delete()
    hand.page.goto("/admin/")
    hand.clicks = 0
    hand.search("restore olu")
    hand.click("option", "Restore")
    hand.click("button", "Restore user")
    hand.page.wait_for_url(f"**/users/{olu.pk}/")
    olu.refresh_from_db()
    assert not olu.is_deleted
    assert hand.clicks <= 3


def test_a_tier_with_access_and_three_limits_is_finished_on_one_page(hand):
    hand.search("create tier")
    hand.click("option", "Create tier")
    hand.page.get_by_label("Name", exact=True).first.fill("plus")
    hand.page.get_by_label("Only these permissions").check()
    hand.page.locator("[name=access-0-resource]").fill("/orders/*")
    hand.page.locator("[name=access-0-actions][value=read]").check()
    for number, (path, limit) in enumerate([("/*", "60"), ("/orders", "10"), ("/search", "5")]):
        hand.page.locator(f"[name=rate_limits-{number}-path]").fill(path)
        hand.page.locator(f"[name=rate_limits-{number}-limit]").fill(limit)
    hand.page.get_by_role("button", name="Save", exact=True).click()
    hand.page.wait_for_url("**/admin/tiers/tier/")
    tier = Tier.objects.get(name="plus")
    assert sorted(tier.rate_limits.values_list("path", "limit")) == [("/*", 60), ("/orders", 10), ("/search", 5)]
    assert [str(rule) for rule in tier.access.all()] == ["read /orders/*"]
