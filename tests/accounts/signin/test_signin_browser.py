"""Sign-up, sign-in, second factor and reset in Chromium, with JavaScript and without."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core import mail

from accounts.models import User
from tests.accounts.signin.steps import NEW_PASSWORD, PASSWORD, code_for, last_link, make_verified

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def visit(chromium, live_server):
    """visit(path) in a fresh browser; fails the test if any page broke the Content Security Policy."""
    contexts, complaints = [], []

    def open_browser(*, javascript=True, **look):
        context = chromium.new_context(base_url=live_server.url, java_script_enabled=javascript, **look)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(60_000)
        return page

    open_browser.complaints = complaints
    yield open_browser
    for context in contexts:
        context.close()
    assert [text for text in complaints if "404" not in text] == []


def sign_in(page, name, password=PASSWORD):
    page.goto("/accounts/login/")
    page.get_by_label("Username or email address").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm_password(page, password=PASSWORD):
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Continue").click()


@pytest.mark.parametrize("javascript", [True, False])
def test_from_sign_up_to_a_new_password(visit, free, javascript):
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
    assert page.locator(".codes li").count() == 10
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
    """A virtual authenticator in Chromium that verifies its user, as a phone or a laptop would."""
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


def test_a_passkey_is_added_and_signs_in_without_a_password(visit, free):
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
    assert page.get_by_role("rowheader", name="My laptop").is_visible()

    page.goto("/accounts/logout/")
    page.locator("main").get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/account/")
    assert User.objects.get(username="alice").last_login is not None


def test_a_passkey_is_a_second_factor_and_opens_the_staff_pages(visit, free, settings):
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


def test_a_passkey_that_is_rejected_says_so_and_leaves_the_password(visit, free):
    make_verified("alice")
    page = visit()
    session, identifier = add_authenticator(page)
    session.send("WebAuthn.setUserVerified", {"authenticatorId": identifier, "isUserVerified": False})
    page.goto("/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_text("That passkey didn't work").wait_for()
    sign_in(page, "alice")
    page.wait_for_url("**/account/")


def test_without_javascript_no_passkey_is_offered(visit, free):
    page = visit(javascript=False)
    page.goto("/accounts/login/")
    assert page.get_by_role("button", name="Sign in with a passkey").count() == 0
    assert page.get_by_role("button", name="Sign in", exact=True).is_visible()


def test_a_suspended_person_is_out_on_the_next_click(visit, free):
    alice = make_verified("alice")
    page = visit()
    sign_in(page, "alice")
    page.goto("/accounts/email/")
    alice.suspend()
    page.get_by_role("link", name="Two-factor authentication").click()
    page.wait_for_url("**/accounts/login/**")
    assert not mail.outbox


def findings(page):
    """What axe-core finds against WCAG A and AA, one line for each element; and whether a phone has to scroll sideways."""
    violations = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
    found = [
        f"{page.url}: {violation['id']}: {node['html'][:120]}"
        for violation in violations.response["violations"]
        for node in violation["nodes"]
    ]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append(f"{page.url}: wider than the window")
    return found


@pytest.mark.parametrize(
    "look",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"color_scheme": "light", "viewport": {"width": 375, "height": 700}},
    ],
)
def test_axe_finds_nothing_on_any_page(visit, free, settings, look):
    settings.SOCIALACCOUNT_PROVIDERS = {
        name: options | {"APPS": [{"client_id": "x", "secret": "y"}]}
        for name, options in settings.SOCIALACCOUNT_PROVIDERS.items()
    }
    make_verified("alice")
    page = visit(**look)
    found = []
    for path in (
        "login/", "signup/", "password/reset/", "password/reset/done/", "password/reset/key/1-x/",
        "password/reset/key/done/", "confirm-email/", "confirm-email/x/", "inactive/", "3rdparty/login/cancelled/",
        "3rdparty/login/error/", "google/login/",
    ):  # fmt: skip
        page.goto(f"/accounts/{path}")
        found += findings(page)
    sign_in(page, "alice", "wrong")
    found += findings(page)
    page.goto("/accounts/signup/")
    page.get_by_role("textbox", name="Username").fill("A!")
    page.evaluate("document.querySelector('main form').noValidate = true")
    page.get_by_role("button", name="Sign up").click()
    found += findings(page)
    sign_in(page, "alice")
    page.goto("/accounts/2fa/totp/activate/")
    found += findings(page)
    confirm_password(page)
    found += findings(page)
    secret = page.locator("code.mono").inner_text()
    page.get_by_label("Code from the app").fill(code_for(secret, shift=0))
    page.get_by_role("button", name="Turn on").click()
    add_authenticator(page)
    page.goto("/accounts/2fa/webauthn/add/")
    found += findings(page)
    page.get_by_role("button", name="Add passkey").click()
    page.wait_for_url("**/accounts/2fa/")
    for path in (
        "2fa/", "2fa/webauthn/", "2fa/recovery-codes/", "2fa/recovery-codes/generate/", "2fa/totp/deactivate/",
        "2fa/reauthenticate/", "2fa/webauthn/reauthenticate/", "email/", "password/change/", "sessions/", "3rdparty/",
        "reauthenticate/", "logout/",
    ):  # fmt: skip
        page.goto(f"/accounts/{path}")
        found += findings(page)
    page.context.clear_cookies()
    sign_in(page, "alice")
    found += findings(page)
    visit.complaints.clear()  # axe-core itself tries inline styles
    assert found == []
