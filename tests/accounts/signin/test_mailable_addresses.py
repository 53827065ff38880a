"""Addresses that can't receive email are rejected everywhere. An old one in the database breaks no page."""

from __future__ import annotations

from email.errors import HeaderParseError
from smtplib import SMTPRecipientsRefused, SMTPSenderRefused, SMTPServerDisconnected

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.core.mail import BadHeaderError, EmailMessage
from django.core.management import CommandError, call_command

from accounts.models import User
from accounts.signin.providers import is_mailable
from config.base.mail import validate_mailable
from tests.accounts.people import messages, signed_in
from tests.accounts.signin.steps import PASSWORD, confirm_identity, unverified, verified

UNMAILABLE = {
    "pop directional": "a@exam\u202cple.com", "right-to-left mark": "a@example.com\u200f", "override": "a@\u202eexample.com",
    "long label": f"a@{'x' * 64}.com", "long label of other letters": f"a@{'ü' * 60}.de", "noncharacter": "a@exam\uffffple.com",
    "noncharacter U+FDD0": "a@exam\ufdd0ple.com", "zero-width space": "a@exam\u200bple.com", "soft hyphen": "a@exam\u00adple.com",
    "byte order mark": "a@example\ufeff.com", "joiner": "a@exam\u200dple.com", "word joiner": "a@exam\u2060ple.com",
    "line separator": "a@exam\u2028ple.com", "no-break space": "a@exam\u00a0ple.com", "private use": "a@exam\ue000ple.com",
    "Hangul filler": "a@exam\u3164ple.com", "ideographic full stop": "a@mail。example.com", "next line": "a@exam\x85ple.com",
    "line feed": "a@exam\nple.com", "header": "a@example.com\nBcc: b@example.com", "NUL": "a@exam\0ple.com",
    "other letters before the @": "ü@example.com", "dotless i": "ı@example.com", "long s and control": 'a"\x01"@example.com',
    "quoted control": '"a\x01b"@example.com', "quoted delete": '"a\x7fb"@example.com', "long local part": f"{'a' * 65}@example.com",
    "long in ASCII": f"a@{'.'.join(['ü' * 20] * 11)}.de", "two addresses": "a@example.com,b@example.com", "no domain": "a@",
    "name and address": "A <a@example.com>", "lone surrogate": "a@exam\ud800ple.com", "nothing": "@",
}  # fmt: skip
MAILABLE = (
    "a@example.com", "a.b+c@mail.example.co.uk", f"{'a' * 64}@example.com", f"a@{'x' * 63}.com", "a@müller.de", "a@xn--mller-kva.de",
    "a@例え.jp", "a@strasse.de", "a@σίσυφοσ.gr", "root@localhost", "a@[192.0.2.7]", "o'neill@example.com", '"a.b"@example.com',
)  # fmt: skip
# Values a form can submit. The others are rejected earlier, or can't be encoded.
TYPED = [UNMAILABLE[name] for name in (
    "pop directional", "right-to-left mark", "long label", "noncharacter", "zero-width space", "other letters before the @",
    "long local part", "ideographic full stop", "header", "quoted control",
)]  # fmt: skip
FAILURES = (
    SMTPRecipientsRefused({"alice@example.com": (550, b"no such user")}),
    SMTPRecipientsRefused({"alice@example.com": (450, b"try again")}),
    SMTPSenderRefused(553, b"no", "gatehouse@localhost"),
    SMTPServerDisconnected("gone"),
    ConnectionRefusedError("no mail server"),
    TimeoutError("slow mail server"),
    UnicodeEncodeError("idna", "x", 0, 1, "label too long"),
    BadHeaderError("Header values can't contain newlines"),
    ValueError('Invalid address "alice@example.com"'),
    HeaderParseError("expected a mailbox"),
)


@pytest.mark.parametrize("address", UNMAILABLE.values(), ids=UNMAILABLE)
def test_unmailable_addresses_are_rejected(address):
    with pytest.raises(ValidationError):
        validate_mailable(address)
    with pytest.raises(ValidationError):
        User(username="dora", name="Dora", email=address, password="x").clean_fields()
    assert not is_mailable(address)


@pytest.mark.parametrize("address", MAILABLE)
def test_mailable_addresses_are_accepted(address, mailoutbox):
    validate_mailable(address)
    User(username="dora", name="Dora", email=address, password="x").clean_fields()
    assert is_mailable(address)
    EmailMessage("Hello", "…", to=[address]).send()
    assert len(mailoutbox) == 1


@pytest.mark.parametrize(
    ("typed", "stored"),
    [("A@Example.com", "a@example.com"), ("a@MÜLLER.de", "a@müller.de"), ("K@straße.de", "k@strasse.de")],
)
def test_addresses_are_normalized_first(typed, stored, client, free, mailoutbox):
    client.post("/accounts/signup/", {"name": "Dora", "username": "dora", "email": typed, "password1": PASSWORD})
    assert User.objects.get().email == stored


def assert_rejected(answer, field="email"):
    assert answer.status_code < 500
    form = answer.context.get("form") or answer.context["adminform"].form
    assert form.errors[field]


@pytest.mark.django_db
@pytest.mark.parametrize("address", TYPED, ids=ascii)
class TestUnmailableAddress:
    def test_sign_up(self, client, free, address, mailoutbox):
        data = {"name": "Dora", "username": "dora", "email": address, "password1": PASSWORD}
        assert_rejected(client.post("/accounts/signup/", data))
        assert not User.objects.exists()
        assert mailoutbox == []

    def test_password_reset(self, client, alice, address):
        assert_rejected(client.post("/accounts/password/reset/", {"email": address}))

    def test_own_address(self, alice, address, mailoutbox):
        client = signed_in(verified(alice))
        confirm_identity(client)
        assert_rejected(client.post("/accounts/email/", {"action_add": "", "email": address}))
        assert list(alice.emailaddress_set.values_list("email", flat=True)) == ["alice@example.com"]
        assert mailoutbox == []

    def test_staff_add_and_invite(self, staff_client, free, address, mailoutbox):
        data = {"name": "Dora", "username": "dora", "email": address, "tier": ""}
        for page in ("/users/add/", "/admin/accounts/user/add/"):
            assert_rejected(staff_client.post(page, data))
        assert not User.objects.filter(username="dora").exists()
        assert mailoutbox == []

    def test_staff_edit(self, staff_client, alice, address):
        data = {"name": "Alice", "username": "alice", "email": address, "tier": "", "is_active": "on"}
        for page in (f"/users/{alice.pk}/edit/", f"/admin/accounts/user/{alice.pk}/change/"):
            assert_rejected(staff_client.post(page, data))
        alice.refresh_from_db()
        assert alice.email == "alice@example.com"

    def test_first_superuser(self, settings, address):
        settings.ADMIN_EMAIL = address
        with pytest.raises(CommandError, match="ADMIN_EMAIL"):
            call_command("bootstrap")
        assert not User.objects.exists()

    def test_createsuperuser(self, address):
        with pytest.raises(CommandError):
            call_command("createsuperuser", interactive=False, username="root", name="Root", email=address)
        assert not User.objects.exists()

    @pytest.mark.parametrize("name", ["KEY_EXPIRY_TEAM_EMAIL", "DEFAULT_FROM_EMAIL"])
    @pytest.mark.parametrize("form", ["{}", "Team <{}>"])
    def test_settings(self, settings, name, form, address):
        setattr(settings, name, form.format(address))
        assert [(error.id, name in error.msg) for error in run_checks() if error.id == "gatehouse.E030"] == [
            ("gatehouse.E030", True)
        ]


@pytest.mark.parametrize("value", ["team@example.com", "Team <team@example.com>", "Zoë <Team@Example.com>", ""])
def test_settings_accept_an_address_with_or_without_a_name(settings, value):
    settings.KEY_EXPIRY_TEAM_EMAIL = value
    settings.DEFAULT_FROM_EMAIL = value or "gatehouse@localhost"
    assert "gatehouse.E030" not in {message.id for message in run_checks()}


@pytest.fixture(params=FAILURES, ids=lambda error: f"{type(error).__name__}-{str(error)[:40]}")
def failure(request, monkeypatch):
    def send(message, *, fail_silently=False):
        raise request.param

    monkeypatch.setattr(EmailMessage, "send", send)
    return request.param


@pytest.mark.django_db
class TestSendingFails:
    """If an email can't be sent, the page that sends it still works."""

    def test_visitors(self, client, alice, failure, caplog):
        verified(alice)
        data = {"name": "Dora", "username": "dora", "email": "dora@example.com", "password1": PASSWORD}
        assert client.post("/accounts/signup/", data)["Location"] == "/accounts/confirm-email/"
        # This one emails the user who already has the address.
        taken = data | {"username": "other", "email": "alice@example.com"}
        assert client.post("/accounts/signup/", taken)["Location"] == "/accounts/confirm-email/"
        for email in ("alice@example.com", "nobody@example.com"):
            answer = client.post("/accounts/password/reset/", {"email": email})
            assert answer["Location"] == "/accounts/password/reset/done/"
        assert "could not be sent" in caplog.text
        assert "@example.com" not in caplog.text

    def test_signing_in_unverified(self, client, alice, failure):
        unverified(alice)
        answer = client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
        assert answer["Location"] == "/accounts/confirm-email/"

    def test_users(self, alice, failure):
        client = signed_in(verified(alice))
        confirm_identity(client)
        for data in ({"action_add": "", "email": "new@example.com"}, {"action_send": "", "email": "new@example.com"}):
            assert client.post("/accounts/email/", data)["Location"] == "/accounts/email/"
        new = {"oldpassword": PASSWORD, "password1": "battery staple 2", "password2": "battery staple 2"}
        assert client.post("/accounts/password/change/", new).status_code == 302

    def test_staff_see_an_error(self, staff_client, alice, failure):
        unverified(alice)
        for page in (f"/users/{alice.pk}/send-reset/", f"/users/{alice.pk}/resend-verification/"):
            answer = staff_client.post(page, follow=True)
            assert answer.status_code == 200
            assert any("alice@example.com couldn't be sent" in text for text in messages(answer))
        data = {"name": "Dora", "username": "dora", "email": "dora@example.com", "tier": ""}
        for page, username in (("/users/add/", "dora"), ("/admin/accounts/user/add/", "dieter")):
            added = data | {"username": username, "email": f"{username}@example.com"}
            answer = staff_client.post(page, added, follow=True)
            assert any(f"{username}@example.com couldn't be sent" in text for text in messages(answer))
            assert User.objects.filter(username=username).exists()
        moved = {"name": "Alice", "username": "alice", "email": "moved@example.com", "tier": "", "is_active": "on"}
        assert staff_client.post(f"/users/{alice.pk}/edit/", moved).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("address", TYPED, ids=ascii)
def test_an_unmailable_address_in_the_database_breaks_no_page(client, staff_client, alice, address):
    """Users created before this rule may have one."""
    User.objects.filter(pk=alice.pk).update(email=address)
    alice.refresh_from_db()
    unverified(alice)
    for action in ("send-reset", "resend-verification", "verify"):
        assert staff_client.post(f"/users/{alice.pk}/{action}/", follow=True).status_code == 200
    moved = {"name": "Alice", "username": "alice", "email": "moved@example.com", "tier": "", "is_active": "on"}
    assert staff_client.post(f"/admin/accounts/user/{alice.pk}/change/", moved).status_code == 302
    alice.refresh_from_db()
    assert alice.email == "moved@example.com"
