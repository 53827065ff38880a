"""Every email has plain text and HTML with the same content and links, and loads nothing from other sites."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import allauth
import pytest
from allauth.account.adapter import get_adapter
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.management import call_command
from django.http import HttpRequest
from django.utils import timezone

from apikeys import services
from config.base.history import Author
from config.base.html_mail import attach_html
from tests.accounts.signin.steps import ask_for_reset, sign_in, unverified, verified
from tests.rows import make_key

ROOT = Path(__file__).resolve().parents[3]
# Our templates, and allauth's that ours don't replace.
EMAILS = sorted(
    {
        str(path.relative_to(templates)).removesuffix("_message.txt")
        for templates in (ROOT / "templates", Path(allauth.__file__).parent / "templates")
        for path in templates.glob("*/email/*_message.txt")
        if not path.name.startswith("base_")
    }
)
URL = re.compile(r"https?://\S+")
CONTEXT = {
    "password_reset_url": "https://gatehouse.test/reset/",
    "activate_url": "https://gatehouse.test/confirm/",
    "ip": "192.0.2.1",
    "user_agent": '<script>alert("1")</script>',
}


class Reader(HTMLParser):
    """Reads the text, link addresses and tags of the HTML part."""

    def __init__(self, html):
        super().__init__()
        self.words, self.links, self.tags = [], [], set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert {name for name, _ in attributes} <= {"lang", "charset", "name", "content", "class", "href"}
        self.links += [value for name, value in attributes if name == "href"]

    def handle_data(self, data):
        if self.lasttag not in {"style", "title"}:
            self.words += data.split()


def html_of(message):
    [(content, kind)] = message.alternatives
    assert kind == "text/html"
    return content


def check_email(message):
    """Check that both parts have the same words and links, and that the HTML loads nothing."""
    seen = Reader(html_of(message))
    links = URL.findall(message.body)
    assert set(seen.links) == set(links)
    assert len(seen.links) == 2 * len(links)  # the button, and the URL to copy
    assert seen.tags <= {"html", "head", "meta", "title", "style", "body", "p", "a", "br", "hr"}
    assert "url(" not in html_of(message)
    words = message.body.replace("--\n", "").split()
    labels = re.findall(r"(\S+):\n+https?://", message.body)
    assert seen.words == [word.removesuffix(":") if word.removesuffix(":") in labels else word for word in words]
    return links


@pytest.fixture
def rendered(alice):
    def rendered(prefix):
        request = HttpRequest()
        request.META["HTTP_HOST"] = "testserver"
        return get_adapter(request).render_mail(
            prefix, alice.email, CONTEXT | {"user": alice, "email": alice.email, "timestamp": timezone.now()}
        )

    return rendered


@pytest.mark.parametrize("prefix", EMAILS)
def test_every_template_has_both_parts(rendered, prefix):
    message = rendered(prefix)
    assert message.body.strip()
    check_email(message)
    assert "<script" not in html_of(message)


def test_links_of_sign_in_emails_are_buttons(client, alice, bob):
    verified(alice)
    _, message = ask_for_reset(client)
    [link] = check_email(message)
    assert f'<a class="button" href="{link}">Set a new password</a>' in html_of(message)
    unverified(bob)
    sign_in(client, "bob")
    [link] = check_email(mail.outbox[-1])
    assert f'<a class="button" href="{link}">Confirm email address</a>' in html_of(mail.outbox[-1])


def expiring_key(alice):
    return services.issue_key(alice, Author(alice), name="a & <b>", expires_at=timezone.now() + timedelta(days=5))


def test_notices_link_to_the_key_and_its_usage(client, alice, sue, settings):
    settings.SITE_URL, settings.KEY_EXPIRY_TEAM_EMAIL = "http://testserver", "keys@example.com"
    key, secret = expiring_key(alice)
    call_command("notify_expiring_keys")
    pages = {
        alice: (f"/account/keys/{key.pk}/", f"/account/usage/?key={key.pk}"),
        sue: (f"/admin/apikeys/apikey/{key.pk}/change/", f"/admin/usage/?key={key.pk}"),
    }
    for message, (user, paths) in zip(mail.outbox, pages.items(), strict=True):
        assert check_email(message) == [f"http://testserver{path}" for path in paths]
        assert str(secret) not in message.message().as_string()
        assert "a &amp; &lt;b&gt;" in html_of(message)
        client.force_login(user)
        for path in paths:
            assert "a &amp; &lt;b&gt;" in client.get(path).content.decode()


def test_notices_without_site_url_have_no_links(alice, settings):
    settings.KEY_EXPIRY_TEAM_EMAIL = "keys@example.com"
    expiring_key(alice)
    call_command("notify_expiring_keys")
    assert [check_email(message) for message in mail.outbox] == [[], []]


def test_a_users_name_cannot_create_a_button(alice, settings):
    key = make_key(alice, expires_at=timezone.now() + timedelta(days=5))
    type(key).objects.filter(pk=key.pk).update(name="x)\n\nSet a new password:\nhttps://evil.example")
    call_command("notify_expiring_keys")
    assert "href" not in html_of(mail.outbox[0])


def test_buttons_have_the_accent_color(settings):
    settings.ACCENT_COLOR = "#0f766e"
    message = attach_html(EmailMultiAlternatives("Hello", "Open:\nhttps://gatehouse.test/"))
    assert "background: #0f766e;" in html_of(message)
