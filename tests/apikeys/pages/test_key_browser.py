"""The page with the new secret and the permission picker in Chromium, with and without JavaScript."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apikeys.models import APIKey, GatewayTest, KeyPermission
from apikeys.secrets import hash_secret

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def open_page(visit, alice):
    def open_page(path, **options):
        page = visit(alice, **options)
        page.goto(path)
        return page

    return open_page


def create_key(page):
    page.fill("#id_name", "from a browser")
    page.click("text=Create key")
    page.wait_for_selector("[data-secret]")


def test_secret_is_masked_and_leaving_before_copying_asks(open_page):
    page = open_page("/account/keys/new/", permissions=["clipboard-read", "clipboard-write"])
    create_key(page)
    value = page.locator("[data-value]")
    expect(value).to_be_hidden()
    expect(page.locator("[data-copy]")).to_be_focused()
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.dismiss()))
    with page.expect_event("dialog"):
        page.click("text=Usage")
    assert dialogs == ["beforeunload"]
    assert page.url.endswith("/new/")
    page.click("[data-copy]")
    page.get_by_text("Copied.").wait_for()
    secret = page.evaluate("navigator.clipboard.readText()")
    assert APIKey.objects.get().secret_hash == hash_secret(secret)
    page.click("text=Show secret")
    expect(value).to_have_text(secret)
    page.click("text=I've saved it")
    page.wait_for_url("**/account/keys/")
    assert dialogs == ["beforeunload"]


def test_key_can_be_created_without_javascript(open_page):
    page = open_page("/account/keys/new/", javascript=False)
    create_key(page)
    expect(page.locator("[data-copy]")).to_be_hidden()
    page.click("text=Show secret")
    assert APIKey.objects.get().secret_hash == hash_secret(page.locator("[data-value]").inner_text())


def test_double_click_creates_one_key(open_page):
    page = open_page("/account/keys/new/")
    page.fill("#id_name", "twice")
    page.dblclick("text=Create key")
    page.wait_for_selector("[data-secret]")
    assert APIKey.objects.count() == 1


def test_picker_appears_and_rows_can_be_added(open_page):
    page = open_page("/account/keys/new/")
    expect(page.locator("#id_permissions-0-resource")).to_be_hidden()
    page.check('input[name="allow"][value="listed"]')
    for _ in range(2):
        page.click("text=Add row")
    page.fill("#id_permissions-4-resource", "/orders/*")
    page.check("#id_permissions-4-actions_0")
    create_key(page)
    assert [str(row) for row in KeyPermission.objects.all()] == ["read /orders/*"]


def test_fields_appear_when_they_apply_and_changes_are_marked_unsaved(open_page):
    page = open_page("/account/keys/new/")
    expect(page.locator("#id_expires_at")).to_be_hidden()
    expect(page.locator(".unsaved")).to_have_text("")
    page.select_option("#id_expiry", "custom")
    expect(page.locator("#id_expires_at")).to_be_visible()
    expect(page.locator(".unsaved")).to_have_text("Unsaved changes")
    page.click("text=Allowed addresses and rate limit")
    expect(page.locator("#id_rate_period_0")).to_be_visible()
    page.select_option("#id_rate_window", "week")
    expect(page.locator("#id_rate_period_0")).to_be_hidden()


@pytest.mark.parametrize("path", ["/account/keys/", "/account/keys/new/", "/account/usage/"])
def test_pages_fit_a_phone(open_page, path):
    page = open_page(path, width=375)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_curl_command_is_copied_with_the_secret(visit, alice):
    GatewayTest.objects.note("api.example.org", passed=True)
    page = visit(alice, permissions=["clipboard-read", "clipboard-write"])
    page.goto("/account/keys/new/")
    create_key(page)
    page.get_by_text("Try it with curl").click()
    page.get_by_role("button", name="Copy curl command").click()
    page.get_by_text("Copied.").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    secret = page.locator("[data-value]").text_content()
    assert command == f'curl -H "Authorization: Bearer {secret}" https://api.example.org/'
    page.get_by_role("link", name="API keys").first.click()  # no confirmation, because the secret was copied
    page.wait_for_url("**/account/keys/")
    page.get_by_role("link", name="from a browser").click()
    page.get_by_role("button", name="Copy ID").click()
    copied = f"navigator.clipboard.readText().then(text => text === '{APIKey.objects.get().pk}')"
    page.wait_for_function(copied)
