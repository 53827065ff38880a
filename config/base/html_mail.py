"""The HTML part of an email, made from its plain text: both parts say the same."""

from __future__ import annotations

import re
from typing import NamedTuple

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

# A paragraph that becomes a button: what it does, and its URL on a line of its own.
LINK = re.compile(r"([^\n]+):\n(https?://\S+)")
FACT = re.compile(r"[A-Z][A-Za-z ]*: .*")
FOOTER = "--\n"


class Paragraph(NamedTuple):
    """kind: text, facts (a line each), footer, or button, with a URL."""

    kind: str
    lines: list[str]
    url: str = ""


def attach_html(message: EmailMultiAlternatives) -> EmailMultiAlternatives:
    paragraphs = [paragraph(text) for text in re.split(r"\n\s*\n", str(message.body).strip())]
    context = {"subject": message.subject, "paragraphs": paragraphs, "accent_color": settings.ACCENT_COLOR or "#4f46e5"}
    message.attach_alternative(render_to_string("base/email.html", context), "text/html")
    return message


def paragraph(text: str) -> Paragraph:
    if link := LINK.fullmatch(text):
        return Paragraph("button", [link[1]], link[2])
    if text.startswith(FOOTER):
        return Paragraph("footer", [text.removeprefix(FOOTER)])
    lines = text.splitlines()
    if all(map(FACT.fullmatch, lines)):
        return Paragraph("facts", lines)
    return Paragraph("text", [" ".join(lines)])
