"""Sign-up, sign-in, second factor and reset in Chromium, with JavaScript and without."""

from __future__ import annotations

import pytest
from django.core import mail
from playwright.sync_api import expect

from accounts.models import User
from tests.accounts.signin.steps import NEW_PASSWORD, PASSWORD, code_for, last_link, make_verified
from tests.chromium import faults_of

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def sign_in(page, name, password=PASSWORD):
    page.goto("/accounts/login/")
    page.get_by_label("Username or email address").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm_password(page, password=PASSWORD):
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Continue").click()


@pytest.mark.parametrize("javascript", [True, False])
def test_sign_up_second_factor_and_password_reset(visit, free, javascript):
    page = visit(javascript=javascript)
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Sign up").click()
    page.get_by_label("Name", exact=True).fill("Dora Diaz")
    page.get_by_label("Username").fill("dora")
    page.get_by_label("Email address").fill("dora@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    page.get_by_role("heading", name="Confirm your email address").wait_for()

    page.goto(last_link())
    page.get_by_role("button", name="Confirm email address").click()
    sign_in(page, "dora")
    page.wait_for_url("**/account/")

    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Set up app").click()
    confirm_password(page)
    secret = page.locator("code.mono").inner_text()
    page.get_by_label("Code from the app").fill(code_for(secret, shift=0))
    page.get_by_role("button", name="Turn on").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    expect(page.locator(".codes li")).to_have_count(10)
    recovery_code = page.locator(".codes li").first.inner_text()

    page.goto("/accounts/logout/")
    page.locator("main").get_by_role("button", name="Sign out").click()
    sign_in(page, "dora")
    page.get_by_role("heading", name="Two-factor authentication").wait_for()
    page.get_by_label("Code").fill(code_for(secret))
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/account/")

    page.context.clear_cookies()
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("Email address").fill("dora@example.com")
    page.get_by_role("button", name="Send link").click()
    page.get_by_role("heading", name="Check your email").wait_for()
    page.goto(last_link())
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password (again)").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Save password").click()
    page.get_by_role("heading", name="Password saved").wait_for()

    sign_in(page, "dora", NEW_PASSWORD)
    page.get_by_label("Code").fill(recovery_code)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/account/")


def add_authenticator(page):
    """Add a virtual authenticator that verifies its user, like a phone or a laptop."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    identifier = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]
    return session, identifier


def test_a_passkey_can_be_added_and_signs_in_without_a_password(visit, free):
    make_verified("alice")
    page = visit()
    add_authenticator(page)
    sign_in(page, "alice")
    page.goto("/accounts/2fa/webauthn/add/")
    confirm_password(page)
    page.get_by_label("Name").fill("My laptop")
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()

    page.goto("/accounts/2fa/webauthn/")
    expect(page.get_by_role("rowheader", name="My laptop")).to_be_visible()

    page.goto("/accounts/logout/")
    page.locator("main").get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/account/")
    assert User.objects.get(username="alice").last_login is not None


def test_a_passkey_works_as_the_second_factor_for_staff_pages(visit, free, settings):
    settings.STAFF_MFA_REQUIRED = True
    make_verified("sue", is_staff=True, is_superuser=True)
    page = visit()
    add_authenticator(page)
    sign_in(page, "sue")
    page.goto("/admin/")
    page.wait_for_url("**/accounts/2fa/**")
    page.goto("/accounts/2fa/webauthn/add/")
    confirm_password(page)
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    page.context.clear_cookies()
    sign_in(page, "sue")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/admin/")


def test_a_rejected_passkey_shows_an_error_and_the_password_still_works(visit, free):
    make_verified("alice")
    page = visit()
    session, identifier = add_authenticator(page)
    session.send("WebAuthn.setUserVerified", {"authenticatorId": identifier, "isUserVerified": False})
    page.goto("/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_text("That passkey didn't work").wait_for()
    sign_in(page, "alice")
    page.wait_for_url("**/account/")


def test_passkeys_are_not_offered_without_javascript(visit, free):
    page = visit(javascript=False)
    page.goto("/accounts/login/")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_have_count(0)


def test_a_suspended_user_is_signed_out_on_the_next_click(visit, free):
    alice = make_verified("alice")
    page = visit()
    sign_in(page, "alice")
    page.goto("/accounts/email/")
    alice.suspend()
    page.get_by_role("link", name="Two-factor authentication").click()
    page.wait_for_url("**/accounts/login/**")
    assert not mail.outbox


def test_axe_finds_no_violations(visit, free, settings):
    settings.SOCIALACCOUNT_PROVIDERS = {
        name: options | {"APPS": [{"client_id": "x", "secret": "y"}]}
        for name, options in settings.SOCIALACCOUNT_PROVIDERS.items()
    }
    make_verified("alice")
    page = visit()
    found = []
    for path in ("login/", "signup/", "3rdparty/login/error/", "google/login/"):
        page.goto(f"/accounts/{path}")
        found += faults_of(page)
    sign_in(page, "alice", "wrong")
    found += faults_of(page)
    page.goto("/accounts/signup/")
    page.get_by_role("textbox", name="Username").fill("A!")
    page.evaluate("document.querySelector('main form').noValidate = true")
    page.get_by_role("button", name="Sign up").click()
    found += faults_of(page)
    sign_in(page, "alice")
    page.goto("/accounts/2fa/totp/activate/")
    found += faults_of(page)
    confirm_password(page)
    found += faults_of(page)
    secret = page.locator("code.mono").inner_text()
    page.get_by_label("Code from the app").fill(code_for(secret, shift=0))
    page.get_by_role("button", name="Turn on").click()
    add_authenticator(page)
    page.goto("/accounts/2fa/webauthn/add/")
    found += faults_of(page)
    page.get_by_role("button", name="Add passkey").click()
    page.wait_for_url("**/accounts/2fa/")
    for path in (
        "2fa/", "2fa/webauthn/", "2fa/recovery-codes/", "2fa/recovery-codes/generate/", "2fa/totp/deactivate/",
        "2fa/reauthenticate/", "2fa/webauthn/reauthenticate/", "3rdparty/", "reauthenticate/",
    ):  # fmt: skip
        page.goto(f"/accounts/{path}")
        found += faults_of(page)
    page.context.clear_cookies()
    sign_in(page, "alice")
    found += faults_of(page)
    assert found == []
