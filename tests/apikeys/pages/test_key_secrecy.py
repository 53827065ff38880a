"""A secret appears only on the page that shows it."""

from __future__ import annotations

import json
import logging
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from django.views.debug import ExceptionReporter

from apikeys import services
from apikeys.models import APIKey
from apikeys.pages.actions import ACTIONS
from apikeys.pages.mixins import OwnerKeysMixin, StaffKeysMixin
from apikeys.secrets import RANDOM_LENGTH
from config.base.history import Author
from tests.apikeys.pages.test_key_owner_pages import secret_in, text
from tests.apikeys.usage.events import event, issue_key_to

DAY = timedelta(days=1)


def core(secret):
    """The part of a secret that must not appear anywhere: all but the displayed first and last characters."""
    return secret[len("gate_") + 6 : -4]


def database_dump():
    """All values in all tables, as text."""
    parts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            parts += [str(value) for row in cursor.fetchall() for value in row]
    return "\n".join(parts)


def pages(client, key):
    urls = [
        "/account/keys/", "/account/keys/?show=ended", "/account/usage/", "/admin/", "/admin/usage/",
        "/admin/apikeys/apikey/", "/admin/apikeys/hygiene/", "/admin/apikeys/apikey/find/", "/admin/usage/requests/",
        f"/admin/apikeys/apikey/{key.pk}/change/", f"/admin/apikeys/apikey/{key.pk}/history/",
        *(f"/admin/apikeys/apikey/{key.pk}/{action.name}/" for action in ACTIONS),
        *(f"/account/keys/{key.pk}/{action.name}/" for action in ACTIONS), f"/account/keys/{key.pk}/edit/", f"/account/keys/{key.pk}/",
        "/admin/apikeys/apikey/export/", "/admin/usage/requests/?format=csv", "/admin/usage/?format=csv",
        "/account/usage/?format=csv",
    ]  # fmt: skip
    for url in urls:
        response = client.get(url, follow=True)
        assert response.status_code == 200, url
        yield url, b"".join(response) if response.streaming else response.content


@pytest.fixture
def debug_logs(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def create_and_rotate(client):
    """Create and rotate a key on the owner's pages. Returns the key and both secrets."""
    first = secret_in(client.post("/account/keys/new/", {"name": "k"}))
    key = APIKey.objects.get()
    second = secret_in(client.post(f"/account/keys/{key.pk}/rotate/", {"grace": "86400"}))
    return APIKey.objects.get(), (first, second)


def test_secret_is_not_on_other_pages_or_in_logs_sessions_email_or_database(staff_client, sue, debug_logs):
    key, secrets = create_and_rotate(staff_client)
    APIKey.objects.update(expires_at=timezone.now() + 5 * DAY)
    event(key)
    staff_client.post("/admin/apikeys/apikey/find/", {"secret": secrets[0]})
    staff_client.post("/admin/apikeys/apikey/find/", {"secret": secrets[1] + "x"})
    staff_client.get("/admin/apikeys/apikey/", {"q": secrets[1]}, follow=True)
    call_command("notify_expiring_keys", stdout=StringIO())
    fixture = StringIO()
    call_command("dumpdata", stdout=fixture)
    places = {
        "logs": debug_logs.text,
        "database": database_dump(),
        "dumpdata": fixture.getvalue(),
        "sessions": json.dumps([session.get_decoded() for session in Session.objects.all()]),
        "cookies": str(staff_client.cookies),
        "mail": str([(message.subject, message.body) for message in mail.outbox]),
        **{url: body.decode() for url, body in pages(staff_client, key)},
    }
    assert len(mail.outbox) == 1
    for secret in secrets:
        assert len(core(secret)) == RANDOM_LENGTH - 4
        assert [name for name, body in places.items() if core(secret) in body] == []


def test_database_dump_contains_stored_secrets(alice):
    secret = services.new_secret()
    # Bypasses the validator that rejects it.
    APIKey.objects.filter(pk=issue_key_to(alice).pk).update(metadata={"note": secret})
    assert core(secret) in database_dump()
    assert apps.get_models()


def report_of(client, *request, **data):
    """Django's error report for a failed request, as on the debug page and in the email to administrators."""
    with pytest.raises(ZeroDivisionError):
        getattr(client, request[0])(request[1], data)
    reporter = ExceptionReporter(client.request_seen, *client.exc_info_seen)
    return reporter.get_traceback_html() + reporter.get_traceback_text()


class ErrorReportClient(Client):
    """A client that keeps the request and the exception of a view that fails."""

    def store_exc_info(self, **kwargs):
        self.exc_info_seen, self.request_seen = sys.exc_info(), kwargs["request"]
        super().store_exc_info(**kwargs)


@pytest.fixture
def reporting_client(alice, settings):
    settings.DEBUG = False
    client = ErrorReportClient()
    client.force_login(alice)
    return client


def broken(*args, **kwargs):
    return 1 / 0


def record_secrets(monkeypatch):
    """A list that each new secret is added to."""
    made = []
    original = services.new_secret

    def new_secret():
        made.append(original())
        return made[-1]

    monkeypatch.setattr(services, "new_secret", new_secret)
    return made


def test_error_report_has_no_secret_if_rendering_fails(reporting_client, monkeypatch):
    made = record_secrets(monkeypatch)
    monkeypatch.setattr(OwnerKeysMixin, "renderer", broken)
    report = report_of(reporting_client, "post", "/account/keys/new/", name="k")
    assert "ZeroDivisionError" in report
    assert core(made[0]) not in report


def test_error_report_has_no_secret_if_saving_fails(reporting_client, monkeypatch):
    made = record_secrets(monkeypatch)
    monkeypatch.setattr("config.base.history.Author.record", broken)
    report = report_of(reporting_client, "post", "/account/keys/new/", name="k")
    assert core(made[0]) not in report


def test_error_report_has_no_secret_of_a_rotation(reporting_client, alice, monkeypatch):
    key = issue_key_to(alice)
    made = record_secrets(monkeypatch)
    monkeypatch.setattr(OwnerKeysMixin, "renderer", broken)
    report = report_of(reporting_client, "post", f"/account/keys/{key.pk}/rotate/", grace="0")
    assert core(made[0]) not in report


def test_error_report_has_no_secret_of_a_search(sue, settings, monkeypatch):
    settings.DEBUG = False
    client = ErrorReportClient()
    client.force_login(sue)
    _, secret = services.issue_key(sue, Author(sue), name="k")
    monkeypatch.setattr(StaffKeysMixin, "renderer", broken)
    monkeypatch.setattr("apikeys.models.keys.candidate_hashes", broken)
    report = report_of(client, "post", "/admin/apikeys/apikey/find/", secret=secret)
    assert core(secret) not in report


def test_page_with_the_secret_is_not_cached_and_sends_no_referrer(reporting_client):
    response = reporting_client.post("/account/keys/new/", {"name": "k"})
    assert response["Cache-Control"] == "no-store, max-age=0"
    assert response["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "Location" not in response
    # On its own and in the curl command.
    assert text(response).count(secret_in(response)) == 2
