"""Everyday tasks of staff in Chromium, starting on the overview, take a limited number of clicks.

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


class Staff:
    """Uses a page like a staff user, and counts clicks and keys."""

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
        """Click a field and type into it."""
        self.page.get_by_label(label, exact=True).fill(text)
        self.clicks += 1

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
            self.keys += 1

    def type_into(self, label, text):
        """Replace the text of a field that has the focus."""
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
def staff(visit, free):
    return Staff(visit(make_user("root", is_staff=True, is_superuser=True)))


def test_finding_out_why_a_request_was_denied_takes_three_clicks(staff, olu):
    limit = make_limit(olu.tier, "/search", limit=5, period=10)
    yesterday = timezone.now() - timedelta(hours=20)
    key = make_key(olu)
    make_usage(key, endpoint="/search", status_code=429, reason="rate_limited", rate_limit=limit, created_at=yesterday)
    staff.search("olu")
    staff.click("option", "olu")
    staff.click("link", "20 hours ago")
    assert staff.sees("Rate limited", "5 per 10 seconds")
    assert staff.clicks <= 3


def test_finding_users_near_a_quota_takes_one_click(staff, olu):
    limit = make_limit(olu.tier, "/*", limit=10, period=86_400, window="fixed")
    make_usage(make_key(olu))
    for _ in range(9):
        limiter().hit([limit.budget(f"user:{olu.pk}", olu.billing_day)])
    staff.page.reload()
    staff.click("link", "1 user used 80% or more of a quota")
    assert staff.sees("olu", "90%")
    assert staff.clicks <= 1


def test_raising_a_limit_for_one_user_takes_four_clicks(staff, olu):
    make_limit(olu.tier, "/search", limit=5, period=10, name="searches")
    staff.search("olu")
    staff.click("option", "olu")
    staff.click("link", "Change for this user")
    staff.type_into("Limit", "50")
    staff.click("button", "Add rate limit")
    assert staff.sees("Own", "50 per 10 seconds")
    assert staff.clicks <= 4


def test_revoking_a_leaked_key_takes_three_clicks(staff, olu):
    key = make_key(olu, "nightly export")
    staff.search(f"revoke {key.last4}")
    staff.click("option", "Revoke")
    staff.type_into("Reason", "published on a forum")
    staff.click("button", "Revoke")
    staff.page.wait_for_url("**/change/")
    key.refresh_from_db()
    assert key.revoked_at
    assert staff.clicks <= 3


def test_importing_200_users_with_three_errors_takes_five_clicks(staff, tmp_path):
    lines = [f"user_{number},user_{number}@example.com" for number in range(197)]
    wrong = ["Not A Name,one@example.com", "two,no address", "three,"]
    file = tmp_path / "users.csv"
    file.write_text("\n".join(["username,email", *lines, *wrong]))
    staff.search("import users")
    staff.click("option", "Import users")
    staff.page.get_by_label("CSV or XLSX file").set_input_files(file)
    staff.clicks += 1
    staff.click("button", "Preview import")
    staff.page.get_by_role("heading", name="Errors").wait_for()
    assert staff.sees("3 rows can't be imported", "Enter a valid email address.")
    staff.click("button", "Skip 3 rows and import 197 users")
    staff.page.wait_for_url("**/users/")
    assert User.objects.filter(username__startswith="user_").count() == 197
    assert staff.clicks <= 5


def test_moving_a_user_to_another_tier_takes_four_clicks(staff, olu):
    pro = Tier.objects.create(name="pro")
    make_limit(pro, "/search", limit=500, period=60)
    staff.search("change olu")
    staff.click("option", "Change the tier of")
    staff.select("New tier", "pro")
    staff.click("button", "Change tier")
    assert staff.sees("500 per minute")
    assert staff.clicks <= 4


def test_a_user_can_be_found_and_suspended_by_keyboard(staff, olu):
    staff.press("/")
    staff.page.keyboard.type("suspend olu")
    staff.page.get_by_role("option", name="Suspend “olu”").wait_for()
    staff.press("ArrowDown", "Enter")
    staff.page.wait_for_url("**/suspend/")
    while staff.page.evaluate("document.activeElement.textContent.trim()") != "Suspend user":
        staff.press("Tab")
    staff.press("Enter")
    staff.page.wait_for_url(f"**/users/{olu.pk}/")
    olu.refresh_from_db()
    assert not olu.is_active
    assert staff.keys <= 12


def test_undoing_a_deletion_takes_one_click_or_later_three(staff, olu):
    staff.page.goto(f"/users/{olu.pk}/delete/")
    staff.page.get_by_role("button", name="Delete user").click()
    staff.click("button", "Undo")
    staff.page.get_by_text("restored").first.wait_for()
    olu.refresh_from_db()
    assert not olu.is_deleted
    assert staff.clicks <= 1

    olu.delete()
    staff.page.goto("/admin/")
    staff.clicks = 0
    staff.search("restore olu")
    staff.click("option", "Restore")
    staff.click("button", "Restore user")
    staff.page.wait_for_url(f"**/users/{olu.pk}/")
    olu.refresh_from_db()
    assert not olu.is_deleted
    assert staff.clicks <= 3


def test_a_tier_with_access_and_three_limits_is_created_on_one_page(staff):
    staff.search("create tier")
    staff.click("option", "Create tier")
    staff.page.get_by_label("Name", exact=True).first.fill("plus")
    staff.page.get_by_label("Only these permissions").check()
    staff.page.locator("[name=access-0-resource]").fill("/orders/*")
    staff.page.locator("[name=access-0-actions][value=read]").check()
    for number, (path, limit) in enumerate([("/*", "60"), ("/orders", "10"), ("/search", "5")]):
        staff.page.locator(f"[name=rate_limits-{number}-path]").fill(path)
        staff.page.locator(f"[name=rate_limits-{number}-limit]").fill(limit)
    staff.page.get_by_role("button", name="Save", exact=True).click()
    staff.page.wait_for_url("**/admin/tiers/tier/")
    tier = Tier.objects.get(name="plus")
    assert sorted(tier.rate_limits.values_list("path", "limit")) == [("/*", 60), ("/orders", 10), ("/search", 5)]
    assert [str(rule) for rule in tier.access.all()] == ["read /orders/*"]
