"""/help/: keyboard shortcuts for everyone, and the documentation for staff."""

from __future__ import annotations

import re
from urllib.parse import urldefrag

import pytest
from playwright.sync_api import expect

from config.staff import manual
from tests.chromium import faults_of
from tests.pages import text_of

pytestmark = pytest.mark.django_db


def test_staff_see_shortcuts_and_a_link_about_their_current_page(staff_client):
    page = staff_client.get("/users/").content.decode()
    assert 'href="/help/?from=/users/"' in page
    page = text_of(staff_client.get("/help/?from=/users/17/"))
    assert "<kbd>/ or Ctrl K</kbd>" in page
    assert '<a href="/help/accounts">Users and accounts</a>' in page
    assert '<a href="/help/README">Documentation</a>' in text_of(staff_client.get("/help/?from=<script>"))


def test_users_see_shortcuts_but_no_documentation(client, alice):
    client.force_login(alice)
    page = text_of(client.get("/help/"))
    assert "<kbd>?</kbd>" in page
    assert "Ctrl K" not in page
    assert "/help/README" not in page
    assert "Staff pages" not in page


def test_documentation_is_rendered_with_tables_code_and_anchors(staff_client):
    page = staff_client.get("/help/deployment").content.decode()
    assert page.count("<h1>") == 1
    assert "<h1>Deployment</h1>" in page
    assert '<h2 id="several-machines">Several machines</h2>' in page
    assert '<pre tabindex="0"><code>make setup' in page
    assert '<a href="/help/deploy/nginx.conf">' in page
    assert "<span>compose.yaml</span>" in page  # not in docs/
    assert " style=" not in page
    assert '<th class="num">' in staff_client.get("/help/data-layer").content.decode()


def test_every_documentation_link_works(staff_client):
    pages = {
        f"/help/{name}": staff_client.get(f"/help/{name}").content.decode()
        for name, path in manual.files().items()
        if path.suffix == ".md"
    }
    assert len(pages) > 20
    broken = []
    for page, html in pages.items():
        article = html[html.index("<article") : html.index("</article>")]
        for link in re.findall(r'href="([^"]+)"', article):
            url, fragment = urldefrag(link.replace("&amp;", "&"))
            if url.startswith(("https://", "http://")):
                continue
            target = pages.get(url) if url else html
            if target is None and not list(staff_client.get(url)):
                broken.append(f"{page}: {link}")
            if fragment and f'id="{fragment}"' not in target:
                broken.append(f"{page}: {link}")
    assert broken == []


def test_files_of_the_documentation_are_text_or_images(staff_client):
    text = staff_client.get("/help/deploy/nginx.conf")
    assert text["Content-Type"] == "text/plain; charset=utf-8"
    assert b"proxy_pass" in b"".join(text)
    image = staff_client.get("/help/screenshots/users.png")
    assert image["Content-Type"] == "image/png"
    assert b"".join(image).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["nowhere", "../config/settings.py", "..%2f.env.example", "accounts.md", "deploy"])
def test_other_files_are_not_served(staff_client, name):
    assert staff_client.get(f"/help/{name}").status_code == 404


def test_shortcuts_are_shown_without_documentation(staff_client, monkeypatch, tmp_path):
    monkeypatch.setattr(manual, "DOCS", tmp_path)
    page = text_of(staff_client.get("/help/?from=/users/"))
    assert "<kbd>?</kbd>" in page
    assert "documentation" not in page.partition('id="help"')[2]
    assert staff_client.get("/help/accounts").status_code == 404


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("/admin/", "README"), ("/users/import/", "accounts"), ("/admin/ratelimits/match/", "rate-limits"),
        ("/admin/apikeys/connect/", "gateways/nginx"), ("/admin/apikeys/hygiene/", "api-keys"), ("/account/", "accounts"),
    ],
)  # fmt: skip
def test_page_about(page, name):
    assert manual.page_about(page) == name
    assert {name for _, name in manual.ABOUT} <= set(manual.files())


def test_links_are_relative_to_their_page():
    known = manual.files()
    assert manual.target("../rate-limits.md#windows", "gateways", known) == "/help/rate-limits#windows"
    assert manual.target("caddy.md", "gateways", known) == "/help/gateways/caddy"
    assert manual.target("../../compose.yaml", "gateways", known) == ""
    assert manual.target("https://example.com/", "", known) == "https://example.com/"


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_the_question_mark_opens_help_in_a_dialog(visit, sue):
    page = visit(sue)
    page.goto("/users/")
    page.locator("#global-search").fill("?")
    page.locator("#global-search").press("?")
    expect(page.locator("dialog")).to_have_count(0)
    page.locator("h1").click()
    page.keyboard.press("?")
    page.get_by_role("link", name="Users and accounts").wait_for()
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert faults_of(page) == []
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    page.keyboard.press("?")
    page.get_by_role("button", name="Close").click()
    page.locator("dialog").wait_for(state="detached")
    page.route(
        re.compile(r"/help/\?from="),
        lambda route: route.abort() if route.request.resource_type == "fetch" else route.continue_(),
    )
    page.keyboard.press("?")
    page.wait_for_url(re.compile(r"/help/\?from="))
    page.errors.clear()  # the aborted request
    page.get_by_role("link", name="Users and accounts").click()
    page.get_by_role("heading", name="Users and accounts", level=1).wait_for()
    assert faults_of(page) == []
