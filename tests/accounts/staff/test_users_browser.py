"""/users/ and /account/ in Chromium: with 100,000 users, without JavaScript, and with axe-core."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest
from django.db import connection
from PIL import Image
from playwright.sync_api import expect

from accounts.models import User
from tests.accounts.people import make_event, make_key, signed_in
from tests.accounts.signin.steps import PASSWORD, make_verified
from tests.chromium import faults_of
from tests.conftest import make_user
from tests.waiting import wait_until
from tiers.models import Tier

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def sue(free):
    return make_verified("sue", is_staff=True, is_superuser=True)


def create_100_000_users(tier):
    """Create them in SQL, because the ORM would take a minute."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO "user" (name, username, email, password, profile_image, tier_id, is_superuser, is_active, is_staff)
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
            SELECT 'Person ' || n, 'person' || n, 'p' || n || CASE WHEN n <= 500 THEN '@movers.example' ELSE
                   '@mail.example' END, '!', '', %s, %s, %s, %s FROM numbers
            """,
            [tier.pk, False, True, False],
        )
        cursor.execute("ANALYZE")


def seconds_to_find(page, text, name):
    """Seconds from the click on Search until the user is shown."""
    page.goto("/users/")
    page.get_by_label("Search by name, username or email").fill(text)
    start = time.monotonic()
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=name).wait_for()
    return time.monotonic() - start


@pytest.mark.parametrize("javascript", [True, False])
def test_staff_find_suspend_move_and_export_among_100_000_users(visit, free, sue, javascript):
    pro = Tier.objects.create(name="pro")
    create_100_000_users(free)
    wanted = User.objects.get(username="person54321")
    make_key(wanted)
    users_page = visit(wanted, javascript=javascript)
    users_page.goto("/account/")
    users_page.get_by_role("heading", name="Your profile").wait_for()

    page = visit(sue, javascript=javascript)
    wait_until(lambda: seconds_to_find(page, "54321@MAIL", "Person 54321") < 1)
    expect(page.locator("tbody tr")).to_have_count(1)

    # Suspending ends the user's session on its next request.
    page.get_by_role("link", name="Person 54321").click()
    page.get_by_role("link", name="Suspend…").click()
    page.get_by_text("1 API key will stop working").wait_for()
    page.get_by_role("button", name="Suspend").click()
    page.get_by_text("User “person54321” suspended.").wait_for()
    users_page.goto("/account/")
    assert "/accounts/login/" in users_page.url

    # After undoing, the old session stays signed out.
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Undone: user “person54321” reactivated.").wait_for()
    users_page.goto("/account/")
    assert "/accounts/login/" in users_page.url

    # Move 500 to another tier in one action.
    page.goto("/users/?q=movers.example")
    page.get_by_text("500 users", exact=True).wait_for()
    page.locator(".row-select").first.check()
    page.get_by_label("With selected").select_option("tier")
    page.get_by_label("New tier").select_option(str(pro.pk))
    page.get_by_label("Select all 500 matching users").check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("500 users from free").wait_for()
    page.get_by_role("button", name="Move 500 users to pro").click()
    page.get_by_text("500 users moved to pro.").wait_for()
    assert User.objects.filter(tier=pro).count() == 500
    assert "movers.example" in page.url

    # Export them.
    with page.expect_download() as download:
        page.get_by_text("Export", exact=True).click()
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert len(rows) == 500
    assert {row["tier"] for row in rows} == {"pro"}


@pytest.mark.parametrize("javascript", [True, False])
def test_staff_delete_undo_and_erase(visit, alice, sue, javascript):
    page = visit(sue, javascript=javascript)
    page.goto(f"/users/{alice.pk}/")
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Undone: user “alice” restored.").wait_for()
    page.get_by_role("link", name="Erase…").click()
    page.get_by_label("Username").fill("alice")
    page.get_by_role("button", name="Erase personal data").click()
    page.get_by_text("Personal data erased.").wait_for()
    assert User.objects.get(pk=alice.pk).erased_at


@pytest.mark.parametrize("javascript", [True, False])
def test_a_user_changes_their_picture_and_closes_their_account(visit, alice, settings, tmp_path, javascript):
    settings.MEDIA_ROOT = tmp_path / "media"
    picture = tmp_path / "me.jpg"
    Image.new("RGB", (900, 600), "teal").save(picture)
    page = visit(alice, javascript=javascript)
    page.goto("/account/")
    page.get_by_label("New picture").set_input_files(picture)
    page.get_by_role("button", name="Upload").click()
    shown = page.get_by_role("img", name="Your picture")
    shown.wait_for()
    response = page.request.get("/account/picture/")
    assert response.headers["content-type"] == "image/webp"
    (tmp_path / "evil.png").write_bytes(b"<script>alert(1)</script>")
    page.get_by_label("New picture").set_input_files(tmp_path / "evil.png")
    page.get_by_role("button", name="Upload").click()
    page.get_by_text("This file contains more than a picture.", exact=False).wait_for()
    page.get_by_role("button", name="Remove picture").click()
    shown.wait_for(state="detached")
    page.get_by_role("link", name="Close your account…").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Close your account").click()
    page.get_by_text("Account closed.").wait_for()


@pytest.fixture
def users_with_content(alice, bob, sue, settings, tmp_path):
    """Users with content in every part of the pages."""
    settings.MEDIA_ROOT = tmp_path
    make_event(make_key(alice), status_code=429, reason="rate_limited")
    bob.suspend()
    make_user("gone").delete()
    client = signed_in(sue)
    client.post(f"/users/{alice.pk}/edit/", {"name": "Alice Two", "username": "alice", "tier": ""})
    return alice


# tests/test_axe_everywhere.py checks the other pages.
STAFF_PAGES = ("/users/", "/users/?q=ali&state=all&tier=null&keys=yes", "/users/?joined_from=x", "/users/{pk}/")
ACCOUNT_PAGES = ("/account/",)


def test_axe_finds_no_violations(visit, users_with_content, sue):
    faults = []
    for user, paths in ((sue, STAFF_PAGES), (users_with_content, ACCOUNT_PAGES)):
        page = visit(user)
        for path in paths:
            page.goto(path.format(pk=users_with_content.pk))
            faults += faults_of(page)
        if user == sue:
            page.goto("/users/")
            page.get_by_label("Select all on this page").check()
            page.get_by_label("With selected").select_option("suspend")
            page.get_by_role("button", name="Continue").click()
            page.get_by_text("API key will stop working", exact=False).wait_for()
            faults += faults_of(page)
        page.goto(paths[0])
    assert faults == [], "\n".join(faults)


def test_the_list_works_by_keyboard(visit, alice, sue):
    page = visit(sue)
    page.goto("/users/")
    page.get_by_label("Search by name, username or email").focus()
    page.keyboard.type("alice")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=alice**")
    chip = page.get_by_role("link", name="Search: alice")
    chip.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("!location.search.includes('alice')")
