"""On all pages, labels have no colons, titles include the product's name, and breadcrumbs start at home."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_urls_access import expected, filled, read_to_the_end, world  # noqa: F401  (world is a fixture)

pytestmark = pytest.mark.django_db

CRUMBS = re.compile(r'<div class="breadcrumbs">\s*(<a href="[^"]+">)?(Overview|Your account)\b')


@pytest.fixture
def pages(world):  # noqa: F811
    """The pages that a superuser can open, by path."""
    client = world["people"]["superuser"]
    paths = [filled(pattern, world) for pattern, answers in expected().items() if answers[-1] == "ok"]
    answers = {path: client.get(path) for path in paths}
    for answer in answers.values():
        read_to_the_end(answer)
    html = {path: answer for path, answer in answers.items() if answer["Content-Type"].startswith("text/html")}
    return {path: answer.content.decode() for path, answer in html.items()}


def test_pages_are_alike(pages):
    # Pages are only rendered once for all of these: that takes seconds.
    assert len(pages) > 60
    no_label_ends_with_a_colon_and_each_title_with_the_name_of_the_product(pages)
    crumbs_begin_at_the_overview_or_at_the_own_account(pages)
    the_history_is_called_so_everywhere_on_its_pages(pages)


def no_label_ends_with_a_colon_and_each_title_with_the_name_of_the_product(pages):
    assert [path for path, page in pages.items() if re.search(r":\s*</(label|legend)>", page)] == []
    assert [path for path, page in pages.items() if page.count(" · Gatehouse</title>") != 1] == []


def crumbs_begin_at_the_overview_or_at_the_own_account(pages):
    with_crumbs = {path: page for path, page in pages.items() if 'class="breadcrumbs"' in page}
    assert len(with_crumbs) > 50
    assert [path for path, page in with_crumbs.items() if not CRUMBS.search(page)] == []


def the_history_is_called_so_everywhere_on_its_pages(pages):
    for path, page in pages.items():
        if path.startswith("/admin/admin/logentry/"):
            assert "History" in page
            assert "og entries" not in page


def test_no_line_of_a_template_or_script_is_longer_than_120_characters():
    root = Path(__file__).resolve().parent.parent
    files = [path for place in ("templates", "static") for path in (root / place).rglob("*") if path.is_file()]
    assert len(files) > 100
    assert [
        f"{path.relative_to(root)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 120
    ] == []
