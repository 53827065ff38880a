"""Consistency of all pages: labels, titles, breadcrumbs and names. Line length of templates and scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_urls_access import expected, filled, read_to_the_end, site  # noqa: F401  (site is a fixture)

pytestmark = pytest.mark.django_db

CRUMBS = re.compile(r'<div class="breadcrumbs">\s*(<a href="[^"]+">)?(Overview|Your account)\b')


@pytest.fixture
def pages(site):  # noqa: F811
    """The pages that a superuser can open, by path."""
    client = site["clients"]["superuser"]
    paths = [filled(pattern, site) for pattern, answers in expected().items() if answers[-1] == "ok"]
    answers = {path: client.get(path) for path in paths}
    for answer in answers.values():
        read_to_the_end(answer)
    html = {path: answer for path, answer in answers.items() if answer["Content-Type"].startswith("text/html")}
    return {path: answer.content.decode() for path, answer in html.items()}


def test_pages_are_consistent(pages):
    # One test, because rendering all pages takes seconds.
    assert len(pages) > 60
    check_labels_and_titles(pages)
    check_breadcrumbs(pages)
    check_name_of_history(pages)


def check_labels_and_titles(pages):
    assert [path for path, page in pages.items() if re.search(r":\s*</(label|legend)>", page)] == []
    assert [path for path, page in pages.items() if page.count(" · Gatehouse</title>") != 1] == []


def check_breadcrumbs(pages):
    with_crumbs = {path: page for path, page in pages.items() if 'class="breadcrumbs"' in page}
    assert len(with_crumbs) > 50
    assert [path for path, page in with_crumbs.items() if not CRUMBS.search(page)] == []


def check_name_of_history(pages):
    for path, page in pages.items():
        if path.startswith("/admin/admin/logentry/"):
            assert "History" in page
            assert "og entries" not in page


def test_lines_of_templates_and_scripts_have_at_most_120_characters():
    root = Path(__file__).resolve().parent.parent
    files = [path for place in ("templates", "static") for path in (root / place).rglob("*") if path.is_file()]
    assert len(files) > 100
    assert [
        f"{path.relative_to(root)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 120
    ] == []
