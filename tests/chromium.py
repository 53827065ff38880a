"""Real Chromium for tests marked browser: `visit` opens pages of the live server as a given user.

Console errors, including CSP violations, fail the test.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
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
    """visit(user, scheme="light", width=1280) returns a signed-in page of the live server, with console `errors`."""

    @contextmanager
    def opened(user=None, *, scheme="light", width=1280, javascript=True):
        context = chromium.new_context(
            base_url=live_server.url,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            java_script_enabled=javascript,
        )
        if user is not None:
            client = Client()
            client.force_login(user)
            context.add_cookies([{"name": "session", "value": client.cookies["session"].value, "url": live_server.url}])
        page = context.new_page()
        page.errors = []
        page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        try:
            yield page
        finally:
            context.close()

    return opened


def axe_findings(page, only=None):
    """Violations of WCAG A and AA that axe-core finds, one line for each element; `only` limits the rules."""
    run = {"type": "rule", "values": only} if only else AA["runOnly"]
    # Show the whole page at once: content under a sticky bar isn't a violation, because it can be scrolled.
    width, height = page.viewport_size["width"], page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": max(height, 900)})
    # Preloading would fetch the style sheets again, for rules that aren't used here.
    options = {"runOnly": run, "preload": False, "resultTypes": ["violations"]}
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(Axe().axe_script)
    violations = page.evaluate("options => axe.run(document, options).then(found => found.violations)", options)
    return [
        f"{violation['id']}: {node['html'][:160]} ({node['any'][0]['message'] if node['any'] else ''})"
        for violation in violations
        for node in violation["nodes"]
    ]
