"""The documentation in docs/, as HTML for /help/."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Container
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

DOCS: Path = settings.BASE_DIR / "docs"
INDEX = "README"
TABLE_OPEN = '<div class="table-wrap" tabindex="0" role="region" aria-label="Table"><table class="table">\n'
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
# The page about each screen, by the start of its path; the first that fits.
ABOUT = (
    ("/users/", "accounts"),
    ("/admin/auth/", "accounts"),
    ("/admin/accounts/", "accounts"),
    ("/admin/tiers/", "tiers"),
    ("/admin/ratelimits/", "rate-limits"),
    ("/admin/apikeys/explain/", "decision"),
    ("/admin/apikeys/connect/", "gateways/nginx"),
    ("/admin/apikeys/", "api-keys"),
    ("/admin/usage/", "usage"),
    ("/admin/jobs/", "deployment"),
    ("/accounts/", "sign-in"),
    ("/account/keys/", "api-keys"),
    ("/account/usage/", "usage"),
    ("/account/limits/", "rate-limits"),
    ("/account/", "accounts"),
)


class Document(NamedTuple):
    title: str
    html: SafeString


def files() -> dict[str, Path]:
    """All files in docs/: pages by their name without suffix, the others with theirs."""
    found = (path for path in DOCS.rglob("*") if path.is_file())
    names = ((path.relative_to(DOCS).as_posix(), path) for path in found)
    return {name.removesuffix(".md"): path for name, path in names}


def page_about(path: str) -> str:
    return next((name for start, name in ABOUT if path.startswith(start)), INDEX)


def document(name: str, path: Path) -> Document:
    """name: with its folder, from which links start."""
    known = files()
    tokens = MARKDOWN.parse(path.read_text(encoding="utf-8"))
    title = tokens[1].content
    for opened, inline in pairwise(tokens):
        if opened.type == "heading_open":
            opened.attrSet("id", anchor(inline.content))
        # The content security policy forbids styles in the page.
        if "style" in opened.attrs:
            opened.attrs = {"class": "num"}
        relink(inline.children or [], posixpath.dirname(name), known)
    html = MARKDOWN.renderer.render(tokens[3:], MARKDOWN.options, {})
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = html.replace("<table>\n", TABLE_OPEN).replace("</table>", "</table></div>")
    return Document(title, mark_safe(html))  # noqa: S308  (our own files; the parser escapes HTML in them)


def anchor(heading: str) -> str:
    """The anchor that GitHub would use."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def relink(tokens: list[Token], folder: str, known: Container[str]) -> None:
    """Let links to other files of docs/ lead to /help/; those to the source code become text."""
    last: Any = None
    for token in tokens:
        if token.type == "link_open":
            last = token
            href = target(str(token.attrs["href"]), folder, known)
            token.tag, token.attrs = ("a", {"href": href}) if href else ("span", {})
        elif token.type == "link_close":
            token.tag = last.tag


def target(href: str, folder: str, known: Container[str]) -> str:
    """Where a link of a document in `folder` leads; nowhere outside docs/."""
    if "://" in href or href.startswith("#"):
        return href
    file, _, fragment = href.partition("#")
    name = posixpath.normpath(posixpath.join(folder, file)).removesuffix(".md")
    if name not in known:
        return ""
    return page_url(name) + (f"#{fragment}" if fragment else "")


def page_url(name: str) -> str:
    return reverse("help:page", args=[name])
