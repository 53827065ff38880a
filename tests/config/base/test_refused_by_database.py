"""While the database can't be written to, forms return a 503 page that keeps the input, and other pages still work."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from html.parser import HTMLParser

import psycopg
import pytest
from django.contrib import auth
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
)
from django.test import Client
from django.urls import reverse, reverse_lazy

from accounts.models import User
from accounts.signin.middleware import SEEN_AT
from apikeys.models import KeyUsage
from config.base import database as base_database
from config.base.database import unavailable_error
from ratelimits.limiter import limiter
from tests.apikeys.gateway.servers import call, gatehouse
from tests.refusing_database import full_disk, read_only
from tests.rows import make_key
from tests.waiting import wait_until
from tiers.models import Tier

pytestmark = pytest.mark.django_db(transaction=True)

FAILURES = [read_only] if connection.vendor == "postgresql" else [read_only, full_disk]
each_failure = pytest.mark.parametrize("failure", FAILURES)
TIER_FORM = {
    "name": 'gold "extra" <b>',
    "description": "for the\nfew",
    "rate_limits-TOTAL_FORMS": "0",
    "rate_limits-INITIAL_FORMS": "0",
    "_save": "Save",
}


def assert_unavailable(response, *typed):
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert "no-store" in response["Cache-Control"]
    assert response["Content-Security-Policy"]
    page = response.content.decode()
    assert response["X-Request-Id"] in page
    for name, value in typed:
        assert f'<input type="hidden" name="{name}" value="{value}">' in page
    return page


# --- Pages that write ---


@each_failure
def test_a_form_that_cannot_be_saved_is_503_with_the_submitted_values(staff_client, failure, caplog):
    url = reverse("admin:tiers_tier_add")
    with failure():
        response = staff_client.post(url, TIER_FORM)
        page = assert_unavailable(
            response, ("name", "gold &quot;extra&quot; &lt;b&gt;"), ("description", "for the\nfew"), ("_save", "Save")
        )
        assert f'<form method="post" action="{url}">' in page
        assert "We couldn't save this" in page
        assert "The database is unavailable for POST /admin/tiers/tier/add/" in caplog.text
        assert not Tier.objects.filter(name__startswith="gold").exists()
    # It recovers without a restart, on the first request.
    assert staff_client.post(url, TIER_FORM).status_code in {200, 302}


@each_failure
def test_a_user_page_that_cannot_be_saved_is_503(staff_client, alice, failure):
    url = f"/users/{alice.pk}/suspend/"
    with failure():
        assert_unavailable(staff_client.post(url, {"reason": "spam", "expected": "1"}), ("reason", "spam"))
    alice.refresh_from_db()
    assert alice.is_active


@each_failure
def test_the_sign_in_page_is_503_without_the_password(client, alice, failure):
    with failure():
        response = client.post("/accounts/login/", {"login": "alice", "password": "correct horse 1"})
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        page = response.content.decode()
        assert 'value="alice"' in page
        assert "correct horse" not in page
    wait_until(lambda: not limiter().breaker.is_open)
    assert client.post("/accounts/login/", {"login": "alice", "password": "correct horse 1"}).status_code == 302


def test_the_try_again_button_submits_the_same_values(alice, sue):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(sue)
    url = reverse("admin:tiers_tier_add")
    token = browser.get(url).cookies["csrf"].value
    with read_only():
        response = browser.post(url, {**TIER_FORM, "csrfmiddlewaretoken": token})
    shown = {field["name"]: field["value"] for field in hidden_fields(assert_unavailable(response))}
    assert browser.post(url, shown).status_code == 302
    assert Tier.objects.filter(name='gold "extra" <b>').exists()


def hidden_fields(page):
    found = []

    class Fields(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "input":
                found.append(dict(attributes))

    Fields().feed(page)
    return found


def test_secrets_and_files_are_not_in_the_page(staff_client, monkeypatch):
    secret = make_key(User.objects.get(username="sue")).secret
    posted = {
        "name": "kept",
        "form_token": "also kept",
        "password": "p4ss-one",
        "new_password1": "p4ss-two",
        "oldpassword": "p4ss-three",
        "code": "123456",
        "key": "k3y-four",
        "note": f"I pasted {secret}",
        "picture": SimpleUploadedFile("me.png", b"pixels-of-me"),
    }
    with read_only():
        page = assert_unavailable(
            staff_client.post(reverse("admin:tiers_tier_add"), {**TIER_FORM, **posted}),
            ("name", "kept"),
            ("form_token", "also kept"),
        )
    for hidden in ("p4ss", "123456", "k3y-four", secret, "pixels-of-me"):
        assert hidden not in page
    assert "enter passwords, codes and files again" in page


def test_json_clients_get_a_json_problem(staff_client):
    with read_only():
        response = staff_client.post(reverse("admin:tiers_tier_add"), TIER_FORM, headers={"accept": "application/json"})
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response["Retry-After"]


# --- Pages that read ---

READ = [
    "/users/",
    "/admin/",
    "/admin/tiers/tier/",
    "/admin/tiers/tier/add/",
    "/account/",
    "/account/keys/",
    "/account/usage/",
]


@each_failure
@pytest.mark.parametrize(
    "path", [*READ, reverse_lazy("ratelimits:limited_now"), "/admin/apikeys/apikey/", "/account/limits/"]
)
def test_pages_can_be_read(staff_client, path, failure):
    session = staff_client.session
    session[SEEN_AT] = 1  # long ago, so the request tries to update it
    session.save()
    with failure():
        assert staff_client.get(path).status_code == 200


def test_visitors_can_read_the_sign_in_page(client):
    with read_only():
        assert client.get("/accounts/login/").status_code == 200


# --- Sessions that can't be saved, and a database that is down ---


def test_a_session_that_cannot_be_saved_is_503(staff_client, monkeypatch):
    monkeypatch.setattr("django.contrib.auth.middleware.get_user", get_user_and_change_session(monkeypatch))
    with read_only():
        assert staff_client.get("/account/").status_code == 200
        page = assert_unavailable(staff_client.post(reverse("tools:what_if"), {"path": "/orders"}), ("path", "/orders"))
        assert "enter passwords" not in page


def get_user_and_change_session(monkeypatch):
    original = auth.get_user

    def get_user(request):
        request.session["touched"] = True
        return original(request)

    return get_user


def test_a_deleted_session_is_400(staff_client, monkeypatch):
    monkeypatch.setattr("django.contrib.auth.middleware.get_user", get_user_and_delete_session(monkeypatch))
    assert staff_client.get("/account/").status_code == 400


def get_user_and_delete_session(monkeypatch):
    original = auth.get_user

    def get_user(request):
        user = original(request)
        request.session["touched"] = True
        Session.objects.all().delete()
        return user

    return get_user


def fail(*_):
    raise OperationalError("server closed the connection unexpectedly")


def test_pages_are_503_while_the_database_is_down(staff_client):
    staff_client.raise_request_exception = False
    with connection.execute_wrapper(fail):
        assert_unavailable(staff_client.get("/account/"))
    assert staff_client.get("/account/").status_code == 200


def test_a_programming_error_is_500(staff_client, monkeypatch):
    def fail(*_):
        raise ProgrammingError("no such column")

    staff_client.raise_request_exception = False
    with connection.execute_wrapper(fail):
        assert staff_client.get("/account/").status_code == 500


# --- Decisions ---


@pytest.mark.skipif(connection.vendor != "postgresql", reason="about sessions of PostgreSQL")
def test_decisions_are_503_at_once_and_recover_with_the_database(client, alice):
    secret = make_key(alice).secret
    headers = {
        "X-Original-Method": "GET",
        "X-Original-URI": "/orders",
        "X-Real-IP": "203.0.113.9",
        "X-API-Key": secret,
    }
    with read_only():
        for _ in range(3):
            began = time.monotonic()
            response = client.get("/authz/nginx", headers=headers)
            assert response.status_code == 503
            assert time.monotonic() - began < 10  # the longest wait for a lock is 20 seconds
            assert response["Retry-After"]
    assert client.get("/authz/nginx", headers=headers).status_code == 200
    assert KeyUsage.objects.count() == 1


@contextmanager
def read_only_server():
    """Make the database read-only for new sessions, as an administrator would, and close the current ones."""
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )
            yield
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')


@pytest.mark.skipif(connection.vendor != "postgresql", reason="about sessions of PostgreSQL")
def test_workers_recover_on_the_first_request(tmp_path, alice):
    headers = {"X-Original-Method": "GET", "X-Original-URI": "/orders", "X-Real-IP": "203.0.113.9"}
    headers["X-API-Key"] = make_key(alice).secret
    with gatehouse(tmp_path, workers=2) as server:

        def ask(number=8):
            return {call(server.port, path="/authz/nginx", headers=headers).status for _ in range(number)}

        assert ask() == {200}
        with read_only_server():
            assert ask() == {503}
            assert call(server.port, path="/readyz").status == 503
            assert call(server.port, path="/accounts/login/").status == 200
        assert ask() == {200}
        assert call(server.port, path="/readyz").status == 200


# --- Which errors ---

UNAVAILABLE = {
    "08006": OperationalError,
    "25006": InternalError,
    "25P03": InternalError,
    "40001": OperationalError,
    "40P01": OperationalError,
    "53100": OperationalError,
    "53200": OperationalError,
    "53300": OperationalError,
    "55P03": OperationalError,
    "57014": OperationalError,
    "57P01": OperationalError,
    "57P02": OperationalError,
    "57P03": OperationalError,
    "58030": OperationalError,
}
BUGS = {
    "22001": DataError,
    "23505": IntegrityError,
    "25P02": InternalError,
    "42P01": ProgrammingError,
    "54000": OperationalError,
    "XX001": InternalError,
}


def raised(kind, cause):
    try:
        raise kind(str(cause)) from cause
    except DatabaseError as error:
        return error


@pytest.mark.parametrize("state", UNAVAILABLE)
def test_postgresql_errors_that_mean_unavailable(state):
    cause = psycopg.errors.lookup(state)("…")
    assert issubclass(type(cause), getattr(psycopg, UNAVAILABLE[state].__name__))
    assert unavailable_error(raised(UNAVAILABLE[state], cause))


@pytest.mark.parametrize("state", BUGS)
def test_postgresql_errors_that_mean_a_bug(state):
    assert unavailable_error(raised(BUGS[state], psycopg.errors.lookup(state)("…"))) is None


def sqlite_error(code):
    error = sqlite3.OperationalError("…")
    error.sqlite_errorcode = code
    return raised(OperationalError, error)


@pytest.mark.parametrize("code", [5, 6, 8, 10, 13, 14, 15, 8 | 4 << 8, 10 | 3 << 8, 5 | 2 << 8])
def test_sqlite_errors_that_mean_unavailable(code):
    assert unavailable_error(sqlite_error(code))


def test_sqlite_errors_that_mean_a_bug():
    assert unavailable_error(sqlite_error(sqlite3.SQLITE_ERROR)) is None


def test_a_closed_connection_means_unavailable():
    assert unavailable_error(InterfaceError("connection already closed"))
    assert unavailable_error(ValueError()) is None


def test_unavailable_errors_are_found_in_the_chain_of_exceptions():
    hidden, shown = ValueError("something else"), RuntimeError("the end of it")
    hidden.__context__, shown.__cause__ = OperationalError("database is locked"), hidden
    assert unavailable_error(shown) is hidden.__context__


def test_drop_connection_ignores_a_closed_connection():
    connection.close()
    base_database.drop_connection()
    assert connection.connection is None
