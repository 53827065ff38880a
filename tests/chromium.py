"""Chromium for tests marked browser: `visit` opens pages of the live server as a given user."""

from __future__ import annotations

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import sync_playwright

from tests.services import require

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
AA = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require(path, "no Chromium is installed: install the package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, live_server):
    """visit(user) returns a page in a new browser context, signed in as the user.

    Errors in its console, such as a violation of the Content Security Policy, are in `page.errors` and fail the test at the
    end. options: for Playwright's new_context.
    """
    pages = []

    def new_page(user=None, *, scheme="light", width=1280, javascript=True, **options):
        context = chromium.new_context(
            base_url=live_server.url,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            java_script_enabled=javascript,
            **options,
        )
        if user is not None:
            client = Client()
            client.force_login(user)
            name = settings.SESSION_COOKIE_NAME
            context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.errors = []
        page.on("console", lambda message: is_error(message) and page.errors.append(message.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        pages.append(page)
        return page

    yield new_page
    for page in pages:
        page.context.close()
    assert [error for page in pages for error in page.errors] == []


def is_error(message):
    """Whether a console message is an error, except for pages that respond with a 4xx status."""
    is_page = "Failed to load resource" in message.text and "/static/" not in message.location["url"]
    return message.type == "error" and not is_page


def faults_of(page):
    """Accessibility problems of the page: axe-core in light mode, color contrast in dark mode, and width on a phone."""
    page.wait_for_load_state()
    # Transitions could be unfinished.
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    found = axe_findings(page)
    page.emulate_media(color_scheme="dark")
    found += [f"dark: {fault}" for fault in axe_findings(page, only=["color-contrast"])]
    page.emulate_media(color_scheme="light")
    if is_wider_than_a_phone(page):
        found.append("wider than a phone")
    return [f"{page.url}: {fault}" for fault in found]


def is_wider_than_a_phone(page):
    usual = page.viewport_size
    page.set_viewport_size({"width": 375, "height": 700})
    is_wider = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    page.set_viewport_size(usual)
    return is_wider


def axe_findings(page, only=None):
    """Violations of WCAG A and AA that axe-core finds, one line for each element; `only` limits the rules."""
    run = {"type": "rule", "values": only} if only else AA["runOnly"]
    # Show the whole page at once, because axe would report content under a sticky bar, although it can be scrolled.
    width, height = page.viewport_size["width"], page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": max(height, 900)})
    # Preloading would fetch style sheets again, for rules that aren't used here.
    options = {"runOnly": run, "preload": False, "resultTypes": ["violations"]}
    known = len(page.errors)
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(Axe().axe_script)
    violations = page.evaluate("options => axe.run(document, options).then(found => found.violations)", options)
    del page.errors[known:]  # axe itself uses inline styles
    return [
        f"{violation['id']}: {node['html'][:160]} ({node['any'][0]['message'] if node['any'] else ''})"
        for violation in violations
        for node in violation["nodes"]
    ]
